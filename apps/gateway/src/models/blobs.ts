import { isBlobDigest } from '@drover/dialects'
import type { Context } from 'hono'
import type { GatewayEnv } from '../app.ts'

/** `POST /api/blobs/:digest`: the body is not read. */
export const putBlob = (c: Context<GatewayEnv>): Response =>
  isBlobDigest(c.req.param('digest') ?? '')
    ? c.json({ error: 'Drover keeps no blobs: run "ollama create" on the node that is to hold the model, and Drover sees the change within seconds' }, 501)
    : c.json({ error: 'invalid digest format' }, 400)

/** `HEAD /api/blobs/:digest`: none is here. */
export const headBlob = (c: Context<GatewayEnv>, digest: string): Response => c.body(null, isBlobDigest(digest) ? 404 : 400)
