/** Which proxy a URL goes through, as HTTP clients read it from the environment (spec/providers.md §11.1). */
export interface ProxySettings {
  /** The proxy for `url`; null = straight. */
  proxyFor(url: URL): URL | null
}

type Environment = Readonly<Record<string, string | undefined>>

/** Reads `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower case. A proxy that is no http URL counts as none. */
export function readProxySettings(environment: Environment): ProxySettings {
  const value = (name: string): string => (environment[name] || environment[name.toLowerCase()] || '').trim()
  const all = parseProxy(value('ALL_PROXY'))
  const proxies: Readonly<Record<string, URL | null>> = {
    'http:': parseProxy(value('HTTP_PROXY')) ?? all,
    'https:': parseProxy(value('HTTPS_PROXY')) ?? all,
  }
  const direct = value('NO_PROXY')
    .split(',')
    .map(entry => entry.trim().toLowerCase())
    .filter(Boolean)
  return {
    proxyFor(url) {
      const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase()
      return direct.some(entry => matches(entry, host)) ? null : (proxies[url.protocol] ?? null)
    },
  }
}

function parseProxy(text: string): URL | null {
  if (text === '') return null
  try {
    const url = new URL(text.includes('://') ? text : `http://${text}`)
    return url.protocol === 'http:' ? url : null
  } catch {
    return null
  }
}

function matches(entry: string, host: string): boolean {
  if (entry === '*') return true
  const suffix = entry.startsWith('.') ? entry.slice(1) : entry
  return host === suffix || host.endsWith(`.${suffix}`)
}
