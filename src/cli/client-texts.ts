/** TABLE Variables of the client commands beside those of their flags. */
export const CLIENT_VARIABLES: readonly (readonly [string, string])[] = [
  ['OPENSHELL_TOKEN', 'Bearer token to present instead of the stored one.'],
  ['OPENSHELL_OIDC_CLIENT_SECRET', 'Signs in by client credentials instead of a browser.'],
  ['OPENSHELL_OIDC_CLIENT_SECRET_FILE', 'File that holds that secret.'],
  ['OPENSHELL_PASSWORD', 'Password for token --user; only for test users of an issuer that allows it.'],
  ['OPENSHELL_NO_BROWSER', '1 or true: sign in with a code on another device.'],
  ['OPENSHELL_OIDC_ALLOW_HTTP', 'true: issuers beyond this machine may go without encryption.'],
  ['OPENSHELL_SYSTEM_GATEWAY_DIR', 'Registry of the whole machine; else /etc/openshell.'],
  ['BROWSER', 'Program that opens the sign-in page; else that of the desktop.'],
  ['SSL_CERT_FILE', 'PEM file of authorities that are trusted beside those of the system.'],
  [
    'HTTPS_PROXY',
    'Proxy for an issuer beyond this machine; NO_PROXY names hosts without it. Gateways are reached straight.',
  ],
  ['XDG_CONFIG_HOME', 'Where the registry of the user is; else ~/.config.'],
]

/** TABLE Files of the client commands, shared with the openshell command (spec/client.md §4.2). */
export const CLIENT_FILES: readonly (readonly [string, string])[] = [
  ['~/.config/openshell/active_gateway', 'Name of the active gateway.'],
  ['~/.config/openshell/gateways/NAME/metadata.json', 'A registered gateway.'],
  ['~/.config/openshell/gateways/NAME/oidc_token.json', 'Its token; renewed when it is about to end.'],
  ['~/.config/openshell/gateways/NAME/edge_token', 'The token of an edge in front of it.'],
  ['~/.config/openshell/gateways/NAME/mtls/', 'ca.crt, tls.crt and tls.key for it.'],
]
