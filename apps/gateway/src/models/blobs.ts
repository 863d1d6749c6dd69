import { blobDigest } from '@drover/dialects'
import type { Context } from 'hono'
import type { GatewayEnv } from '../app.ts'
import { bytesOf, drop } from '../read-body.ts'
import { refuseHere, type RefuseDeps } from '../refuse-here.ts'
import type { BlobSpool } from './blob-spool.ts'

export interface BlobDeps extends RefuseDeps {
  blobs: BlobSpool
}

/** `POST /api/blobs/:digest`: a file that a model is to be made of. 201; 200 where it is here already. */
export const putBlob =
  (deps: BlobDeps) =>
  async (c: Context<GatewayEnv>): Promise<Response> => {
    try {
      const digest = blobDigest(c.req.param('digest') ?? '')
      if (digest === undefined) return c.json({ error: 'invalid digest format' }, 400)
      const { incoming } = c.env
      if (await deps.blobs.find(digest)) {
        // What is sent all the same is read away.
        drop(incoming)
        return c.body(null, 200)
      }
      await deps.blobs.take(digest, bytesOf(incoming), Number(incoming.headers['content-length'] ?? 0))
      return c.body(null, 201)
    } catch (error) {
      if (!c.env.incoming.readableEnded) drop(c.env.incoming)
      return refuseHere(c, error, deps)
    }
  }

/** `HEAD /api/blobs/:digest`: whether it is here. */
export const headBlob = async (c: Context<GatewayEnv>, given: string, { blobs }: BlobDeps): Promise<Response> => {
  const digest = blobDigest(given)
  return c.body(null, digest === undefined ? 400 : (await blobs.find(digest)) ? 200 : 404)
}
