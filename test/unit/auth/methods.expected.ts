/**
 * What each caller gets on each RPC while OIDC is on, written down from spec/auth.md §3, §4 and §8 without the table of
 * the code (reliability A-02: every RPC × 16 callers). The first seven callers meet a gateway without scopes, the nine
 * others one with scopes, holding both roles and the one scope of their column.
 *
 *   .  reaches the handler
 *   M  UNAUTHENTICATED    missing authorization header
 *   R  UNAUTHENTICATED    sandbox secret required for this method
 *   W  UNAUTHENTICATED    invalid sandbox secret
 *   S  PERMISSION_DENIED  supervisor RPCs require a sandbox principal
 *   u  PERMISSION_DENIED  role 'openshell-user' required
 *   a  PERMISSION_DENIED  role 'openshell-admin' required
 *   s  PERMISSION_DENIED  scope '<last column>' required
 */
export const CALLERS = ['nothing', 'wrong secret', 'secret', 'user', 'admin', 'secret and user', 'no role'] as const

export const SCOPE_CALLERS = [
  'sandbox:read',
  'sandbox:write',
  'provider:read',
  'provider:write',
  'config:read',
  'config:write',
  'inference:read',
  'inference:write',
  'openshell:all',
] as const

export const MATRIX = `
Health                        | . . . . . . . | . . . . . . . . . |
CreateSandbox                 | M M M . . . u | s . s s s s s s . | sandbox:write
GetSandbox                    | M M M . . . u | . s s s s s s s . | sandbox:read
ListSandboxes                 | M M M . . . u | . s s s s s s s . | sandbox:read
DeleteSandbox                 | M M M . . . u | s . s s s s s s . | sandbox:write
CreateSshSession              | M M M . . . u | s . s s s s s s . | sandbox:write
RevokeSshSession              | M M M . . . u | s . s s s s s s . | sandbox:write
ExecSandbox                   | M M M . . . u | s . s s s s s s . | sandbox:write
WatchSandbox                  | M M M . . . u | . s s s s s s s . | sandbox:read
GetSandboxLogs                | M M M . . . u | . s s s s s s s . | sandbox:read
GetSandboxPolicyStatus        | M M M . . . u | . s s s s s s s . | sandbox:read
ListSandboxPolicies           | M M M . . . u | . s s s s s s s . | sandbox:read
CreateProvider                | M M M a . a a | s s s . s s s s . | provider:write
GetProvider                   | M M M . . . u | s s . s s s s s . | provider:read
ListProviders                 | M M M . . . u | s s . s s s s s . | provider:read
UpdateProvider                | M M M a . a a | s s s . s s s s . | provider:write
DeleteProvider                | M M M a . a a | s s s . s s s s . | provider:write
GetSandboxConfig              | M M . . . . u | s s s s . s s s . | config:read
GetGatewayConfig              | M M M . . . u | s s s s . s s s . | config:read
UpdateConfig                  | M M . a . . a | s s s s s . s s . | config:write
GetDraftPolicy                | M M M . . . u | s s s s . s s s . | config:read
GetDraftHistory               | M M M . . . u | s s s s . s s s . | config:read
ApproveDraftChunk             | M M M a . a a | s s s s s . s s . | config:write
ApproveAllDraftChunks         | M M M a . a a | s s s s s . s s . | config:write
RejectDraftChunk              | M M M a . a a | s s s s s . s s . | config:write
EditDraftChunk                | M M M a . a a | s s s s s . s s . | config:write
UndoDraftChunk                | M M M a . a a | s s s s s . s s . | config:write
ClearDraftChunks              | M M M a . a a | s s s s s . s s . | config:write
ReportPolicyStatus            | R W . R R . R | R R R R R R R R R |
GetSandboxProviderEnvironment | R W . R R . R | R R R R R R R R R |
PushSandboxLogs               | R W . R R . R | R R R R R R R R R |
SubmitPolicyAnalysis          | R W . R R . R | R R R R R R R R R |
ConnectSupervisor             | R W . S S . S | S S S S S S S S S |
RelayStream                   | R W . S S . S | S S S S S S S S S |
GetInferenceBundle            | R W . R R . R | R R R R R R R R R |
GetClusterInference           | M M M . . . u | s s s s s s . s . | inference:read
SetClusterInference           | M M M a . a a | s s s s s s s . . | inference:write
`
