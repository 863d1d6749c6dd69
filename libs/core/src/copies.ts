/** Where a worker answers those that copy files from it, or send it some; each request shows a ticket. */
export const COPY_DESCRIBE_PATH = '/copies/models'
export const COPY_FILES_PATH = '/copies/files/'
export const COPY_BLOBS_PATH = '/copies/blobs/'
/** Headers: who asks, and that it is the right one who answers. */
export const COPY_TICKET_HEADER = 'x-drover-ticket'
export const COPY_SEAL_HEADER = 'x-drover-seal'
