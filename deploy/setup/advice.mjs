import { statfsSync } from 'node:fs'
import { megabytes } from './say.mjs'

/** With less than this on the disk it is the disk, whatever the programs say: apt calls a list that it could not write not found. */
const SCARCE = 20e6

const freeBytes = () => {
  try {
    const { bavail, bsize } = statfsSync('.')
    return bavail * bsize
  } catch {
    return undefined
  }
}

const diskFull = () => {
  const free = freeBytes()
  const left = free === undefined ? '' : ` (${megabytes(free)} are free)`
  return `The disk is full${left}: Drover wants about 600 MB in its folder. Free some space, then run this again.`
}

/** What programs complain about, and what to do then. The first that fits is meant: a full disk may show as damaged files, too. */
const ADVICE = [
  [/ENOSPC|EDQUOT|No space left|enough free space|quota exceeded/i, diskFull],
  [/proxy auth|\b407\b/i, () => 'The proxy refused us: correct HTTPS_PROXY and HTTP_PROXY (or proxy in ~/.npmrc, Acquire::http::Proxy of apt), then run this again.'],
  [/EINTEGRITY|hash sum mismatch|unexpected size|TAR_BAD_ARCHIVE|TAR_ENTRY_INVALID|Z_DATA_ERROR|Z_BUF_ERROR|corrupt|not signed|NO_PUBKEY|invalid signature/i, () => 'A download was damaged on its way and thrown away: run this again. If it stays so, a proxy or mirror in between is at fault.'],
  [/SELF_SIGNED|UNABLE_TO_(GET|VERIFY)|CERT_|certificate/i, () => 'A certificate is not trusted: where a proxy looks into connections, name its certificate in NODE_EXTRA_CA_CERTS. Then run this again.'],
  [/ENOTFOUND|EAI_AGAIN|ECONN|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET|socket hang up|network|could not (connect|resolve)|temporary failure|timed out|failed to fetch|\b50[234]\b/i, () => 'The network, or a proxy, does not let us through: check it (HTTPS_PROXY, HTTP_PROXY, proxy in ~/.npmrc), then run this again; what has been fetched is kept.'],
  [/EACCES|EPERM|EROFS|permission denied|read-only|cannot write|cannot make/i, () => `The folder ${process.cwd()} must be writable for you: run this as its owner, or in a copy of your own.`],
]

/** A program's reason for having failed, with the next step where we know one. */
export const withAdvice = (reason) => {
  const scarce = (freeBytes() ?? Infinity) < SCARCE && !/EROFS|read-only/i.test(reason)
  const advice = scarce ? diskFull : ADVICE.find(([pattern]) => pattern.test(reason))?.[1]
  return advice ? `${reason}\n  ${advice()}` : reason
}
