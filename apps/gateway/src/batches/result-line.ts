import type { BrokerError, JobId } from '@drover/core'
import type { Dialect } from '@drover/dialects'

/** What a line of a batch's results is made of. */
interface Named {
  customId: string
  job: JobId
}

const ENDINGS = /[\n\r]+/g

const line = ({ customId, job }: Named, response: string, error: string): string =>
  `{"id":"batch_req_${job.slice(2)}","custom_id":${JSON.stringify(customId)},"response":${response},"error":${error}}\n`

/** An HTTP answer as a part of a line. In JSON, ends of lines stand only between its tokens. `undefined`: the body is not JSON. */
const responseOf = (job: JobId, status: number, body: string): string | undefined => {
  try {
    JSON.parse(body)
  } catch {
    return undefined
  }
  return `{"status_code":${status},"request_id":"${job}","body":${body.trim().replaceAll(ENDINGS, ' ')}}`
}

/** The line of a request that was answered; `undefined`: its body is not JSON. */
export const answerLine = (named: Named, status: number, body: string): string | undefined => {
  const response = responseOf(named.job, status, body)
  return response === undefined ? undefined : line(named, response, 'null')
}

/** The line of a request that failed, with the error that its client would have got. */
export const failureLine = (named: Named, dialect: Pick<Dialect, 'refuse'>, failure: BrokerError): string => {
  const { status, body } = dialect.refuse(failure)
  return line(named, responseOf(named.job, status, body) ?? 'null', 'null')
}

const UNRUN = {
  cancelled: { code: 'batch_cancelled', message: 'The batch was cancelled before this request was answered.' },
  expired: { code: 'batch_expired', message: 'This request could not be executed before the completion window expired.' },
}

/** The line of a request that was not answered. */
export const unrunLine = (named: Named, why: keyof typeof UNRUN): string => line(named, 'null', JSON.stringify(UNRUN[why]))
