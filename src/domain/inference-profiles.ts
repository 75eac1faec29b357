/** What the gateway knows about providers of models (spec/providers.md §10, §11.1). */

export type Protocol =
  | 'openai_chat_completions'
  | 'openai_completions'
  | 'openai_responses'
  | 'anthropic_messages'
  | 'model_discovery'

export interface Profile {
  readonly baseUrl: string
  /** In the order in which clients are told. */
  readonly protocols: readonly Protocol[]
  readonly keyName: string
  readonly baseUrlName: string
  readonly auth: 'bearer' | 'x-api-key'
  readonly headers: readonly (readonly [name: string, value: string])[]
}

const OPENAI: readonly Protocol[] = [
  'openai_chat_completions',
  'openai_completions',
  'openai_responses',
  'model_discovery',
]

/** TABLE of provider types that can serve models, in the order in which refusals list them. */
export const PROFILES: ReadonlyMap<string, Profile> = new Map([
  [
    'openai',
    {
      baseUrl: 'https://api.openai.com/v1',
      protocols: OPENAI,
      keyName: 'OPENAI_API_KEY',
      baseUrlName: 'OPENAI_BASE_URL',
      auth: 'bearer',
      headers: [],
    },
  ],
  [
    'anthropic',
    {
      baseUrl: 'https://api.anthropic.com/v1',
      protocols: ['anthropic_messages', 'model_discovery'],
      keyName: 'ANTHROPIC_API_KEY',
      baseUrlName: 'ANTHROPIC_BASE_URL',
      auth: 'x-api-key',
      headers: [['anthropic-version', '2023-06-01']],
    },
  ],
  [
    'nvidia',
    {
      baseUrl: 'https://integrate.api.nvidia.com/v1',
      protocols: OPENAI,
      keyName: 'NVIDIA_API_KEY',
      baseUrlName: 'NVIDIA_BASE_URL',
      auth: 'bearer',
      headers: [],
    },
  ],
])

/** The form in which a provider's type is looked up and told. */
export const profileName = (type: string): string => type.trim().toLowerCase()

/** One request that shows whether an endpoint serves a protocol. */
export interface ProbePlan {
  readonly protocol: Protocol
  readonly path: string
  /** Bodies to try in order; the next one only when the endpoint did not like the shape of the one before. */
  readonly bodies: readonly ((model: string) => object)[]
}

const ping = [{ content: 'ping', role: 'user' }]

/** TABLE of probes; the first whose protocol a route has is used. Members stand in ascending order, as they are sent. */
export const PROBES: readonly ProbePlan[] = [
  {
    protocol: 'openai_chat_completions',
    path: '/v1/chat/completions',
    bodies: [
      model => ({ max_completion_tokens: 32, messages: ping, model }),
      model => ({ max_tokens: 32, messages: ping, model }),
    ],
  },
  {
    protocol: 'anthropic_messages',
    path: '/v1/messages',
    bodies: [model => ({ max_tokens: 32, messages: ping, model })],
  },
  {
    protocol: 'openai_responses',
    path: '/v1/responses',
    bodies: [model => ({ input: 'ping', max_output_tokens: 32, model })],
  },
  {
    protocol: 'openai_completions',
    path: '/v1/completions',
    bodies: [model => ({ max_tokens: 32, model, prompt: 'ping' })],
  },
]
