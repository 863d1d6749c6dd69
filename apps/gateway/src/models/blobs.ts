import { isBlobDigest } from '@drover/dialects'
import type { Context } from 'hono'
import type { GatewayEnv } from '../app.ts'

const NO_BLOBS = 'Drover keeps no blobs: run "ollama create" on the node that is to hold the model, and Drover sees the change within seconds'

/** What needs blobs is not built: what to do instead. */
export const needsBlobs = (c: Context<GatewayEnv>): Response => c.json({ error: NO_BLOBS }, 501)

/** `POST /api/blobs/:digest`: the body is not read. */
export const putBlob = (c: Context<GatewayEnv>): Response =>
  isBlobDigest(c.req.param('digest') ?? '') ? needsBlobs(c) : c.json({ error: 'invalid digest format' }, 400)

/** `HEAD /api/blobs/:digest`: none is here. */
export const headBlob = (c: Context<GatewayEnv>, digest: string): Response => c.body(null, isBlobDigest(digest) ? 404 : 400)
