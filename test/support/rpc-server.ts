import { findProgram } from './program.ts'

/** Where a real rpc-server is, if anywhere. */
export const rpcServerPath = (): string | undefined =>
  findProgram('DROVER_RPC_SERVER', ['rpc-server', 'ggml-rpc-server'], '.drover/llama.cpp/bin/rpc-server')

/** For `test.skipIf(...)`: as `skipsWithoutLlamaServer`. */
export const skipsWithoutRpcServer = (): boolean => rpcServerPath() === undefined && !(process.env['CI'] || process.env['DROVER_NO_SKIP'])
