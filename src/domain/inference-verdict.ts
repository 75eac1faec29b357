import { STATUS_CODES } from 'node:http'
import { LIMITS } from '../limits.ts'

/** What came of one probe. */
export type ProbeResult =
  | { readonly kind: 'answer'; readonly status: number; readonly body: string }
  | { readonly kind: 'connect' | 'timeout' | 'private'; readonly url: string }
  /** The request could not be made or the answer not be read; `text` says how. */
  | { readonly kind: 'failed'; readonly text: string }

export interface ProbeFailure {
  /** The endpoint did not like the shape of the request: another shape may do. */
  readonly isShape: boolean
  readonly details: string
  readonly next: string
}

const UNEXPECTED = 'confirm the endpoint URL, protocol, credentials, and model identifier'

/** TABLE of refusing answers (spec/providers.md §11.1). */
function judgeStatus(status: number): { readonly verb: string; readonly next: string; readonly isShape?: boolean } {
  if (status === 400 || status === 404 || status === 405 || status === 422)
    return {
      verb: 'upstream rejected the validation request with HTTP',
      next: 'confirm the provider type, base URL, and model identifier',
      isShape: true,
    }
  if (status === 401 || status === 403)
    return {
      verb: 'upstream rejected credentials with HTTP',
      next: 'verify the provider API key and any required auth headers',
    }
  if (status === 429)
    return {
      verb: 'upstream rate-limited the validation request with HTTP',
      next: 'retry later or verify quota/limits on the upstream provider',
    }
  if (status >= 500 && status <= 599)
    return { verb: 'upstream returned HTTP', next: 'check whether the endpoint is healthy and serving requests' }
  return { verb: 'upstream returned unexpected HTTP', next: UNEXPECTED }
}

/** Null when the endpoint serves the protocol: any 2xx. */
export function judgeProbe(result: ProbeResult): ProbeFailure | null {
  switch (result.kind) {
    case 'answer': {
      if (result.status >= 200 && result.status <= 299) return null
      const { verb, next, isShape = false } = judgeStatus(result.status)
      const reason = STATUS_CODES[result.status] ?? '<unknown status code>'
      const shown = [...result.body.trim()].slice(0, LIMITS.inferenceBodyShown).join('')
      return {
        isShape,
        next,
        details: `${verb} ${result.status} ${reason}.${shown === '' ? '' : ` Response body: ${shown}`}`,
      }
    }
    case 'connect':
    case 'timeout':
      return {
        isShape: false,
        details:
          result.kind === 'connect'
            ? `failed to connect to ${result.url}: error sending request for url (${result.url})`
            : `request to ${result.url} timed out`,
        next: 'check that the service is running, confirm the base URL and protocol, and verify credentials',
      }
    case 'private':
      return {
        isShape: false,
        details: `${result.url} is not at a public address`,
        next: 'use a public endpoint, start the gateway with --inference-allow-private-endpoints',
      }
    case 'failed':
      return { isShape: false, details: result.text, next: UNEXPECTED }
  }
}

/** The text of a refusal, in the words that clients look for. */
export const verifyFailed = (about: {
  readonly provider: string
  readonly model: string
  readonly baseUrl: string
  readonly failure: ProbeFailure
}): string =>
  `failed to verify inference endpoint for provider '${about.provider}' and model '${about.model}' at '${about.baseUrl}': ${about.failure.details}. Next steps: ${about.failure.next}, or retry with '--no-verify' if you want to skip verification`
