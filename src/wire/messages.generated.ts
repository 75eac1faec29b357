// Made by proto/generate.ts from proto/*.proto. Not edited by hand.

export const SandboxPhase = { SANDBOX_PHASE_UNSPECIFIED: 0, SANDBOX_PHASE_PROVISIONING: 1, SANDBOX_PHASE_READY: 2, SANDBOX_PHASE_ERROR: 3, SANDBOX_PHASE_DELETING: 4, SANDBOX_PHASE_UNKNOWN: 5 } as const

export const PolicyStatus = { POLICY_STATUS_UNSPECIFIED: 0, POLICY_STATUS_PENDING: 1, POLICY_STATUS_LOADED: 2, POLICY_STATUS_FAILED: 3, POLICY_STATUS_SUPERSEDED: 4 } as const

export const ServiceStatus = { SERVICE_STATUS_UNSPECIFIED: 0, SERVICE_STATUS_HEALTHY: 1, SERVICE_STATUS_DEGRADED: 2, SERVICE_STATUS_UNHEALTHY: 3 } as const

export const SettingScope = { SETTING_SCOPE_UNSPECIFIED: 0, SETTING_SCOPE_SANDBOX: 1, SETTING_SCOPE_GLOBAL: 2 } as const

export const PolicySource = { POLICY_SOURCE_UNSPECIFIED: 0, POLICY_SOURCE_SANDBOX: 1, POLICY_SOURCE_GLOBAL: 2 } as const

export const NullValue = { NULL_VALUE: 0 } as const

export interface ComputeGetCapabilitiesRequest {
}

export interface ComputeGetCapabilitiesResponse {
  driver_name: string
  driver_version: string
  default_image: string
  supports_gpu: boolean
}

export interface ComputeDriverSandbox {
  id: string
  name: string
  namespace: string
  spec: ComputeDriverSandboxSpec | null
  status: ComputeDriverSandboxStatus | null
}

export interface ComputeDriverSandboxSpec {
  log_level: string
  environment: Record<string, string>
  template: ComputeDriverSandboxTemplate | null
  gpu: boolean
}

export interface ComputeDriverSandboxTemplate {
  image: string
  agent_socket_path: string
  labels: Record<string, string>
  environment: Record<string, string>
  resources: ComputeDriverResourceRequirements | null
  platform_config: Struct | null
}

export interface ComputeDriverResourceRequirements {
  cpu_request: string
  cpu_limit: string
  memory_request: string
  memory_limit: string
}

export interface ComputeDriverSandboxStatus {
  sandbox_name: string
  instance_id: string
  agent_fd: string
  sandbox_fd: string
  conditions: ComputeDriverCondition[]
  deleting: boolean
}

export interface ComputeDriverCondition {
  type: string
  status: string
  reason: string
  message: string
  last_transition_time: string
}

export interface ComputeDriverPlatformEvent {
  timestamp_ms: bigint
  source: string
  type: string
  reason: string
  message: string
  metadata: Record<string, string>
}

export interface ComputeValidateSandboxCreateRequest {
  sandbox: ComputeDriverSandbox | null
}

export interface ComputeValidateSandboxCreateResponse {
}

export interface ComputeGetSandboxRequest {
  sandbox_id: string
  sandbox_name: string
}

export interface ComputeGetSandboxResponse {
  sandbox: ComputeDriverSandbox | null
}

export interface ComputeListSandboxesRequest {
}

export interface ComputeListSandboxesResponse {
  sandboxes: ComputeDriverSandbox[]
}

export interface ComputeCreateSandboxRequest {
  sandbox: ComputeDriverSandbox | null
}

export interface ComputeCreateSandboxResponse {
}

export interface ComputeStopSandboxRequest {
  sandbox_id: string
  sandbox_name: string
}

export interface ComputeStopSandboxResponse {
}

export interface ComputeDeleteSandboxRequest {
  sandbox_id: string
  sandbox_name: string
}

export interface ComputeDeleteSandboxResponse {
  deleted: boolean
}

export interface ComputeWatchSandboxesRequest {
}

export interface ComputeWatchSandboxesSandboxEvent {
  sandbox: ComputeDriverSandbox | null
}

export interface ComputeWatchSandboxesDeletedEvent {
  sandbox_id: string
}

export interface ComputeWatchSandboxesPlatformEvent {
  sandbox_id: string
  event: ComputeDriverPlatformEvent | null
}

export interface ComputeWatchSandboxesEvent {
  sandbox: ComputeWatchSandboxesSandboxEvent | null
  deleted: ComputeWatchSandboxesDeletedEvent | null
  platform_event: ComputeWatchSandboxesPlatformEvent | null
  /** Which member is set. */
  readonly payload?: 'sandbox' | 'deleted' | 'platform_event'
}

export interface ResolveCredentialRequest {
  name: string
}

export interface ResolveCredentialResponse {
  token: string
  expires_at_ms: bigint
  token_type: string
}

export interface ListCredentialsRequest {
}

export interface ListCredentialsResponse {
  credentials: CredentialInfo[]
}

export interface CredentialInfo {
  name: string
  scopes: string[]
}

export interface ObjectMeta {
  id: string
  name: string
  created_at_ms: bigint
  labels: Record<string, string>
}

export interface Provider {
  metadata: ObjectMeta | null
  type: string
  credentials: Record<string, string>
  config: Record<string, string>
}

export interface ClusterInferenceConfig {
  provider_name: string
  model_id: string
  timeout_secs: bigint
}

export interface InferenceRoute {
  metadata: ObjectMeta | null
  config: ClusterInferenceConfig | null
  version: bigint
}

export interface SetClusterInferenceRequest {
  provider_name: string
  model_id: string
  route_name: string
  verify: boolean
  no_verify: boolean
  timeout_secs: bigint
}

export interface ValidatedEndpoint {
  url: string
  protocol: string
}

export interface SetClusterInferenceResponse {
  provider_name: string
  model_id: string
  version: bigint
  route_name: string
  validation_performed: boolean
  validated_endpoints: ValidatedEndpoint[]
  timeout_secs: bigint
}

export interface GetClusterInferenceRequest {
  route_name: string
}

export interface GetClusterInferenceResponse {
  provider_name: string
  model_id: string
  version: bigint
  route_name: string
  timeout_secs: bigint
}

export interface GetInferenceBundleRequest {
}

export interface ResolvedRoute {
  name: string
  base_url: string
  protocols: string[]
  api_key: string
  model_id: string
  provider_type: string
  timeout_secs: bigint
}

export interface GetInferenceBundleResponse {
  routes: ResolvedRoute[]
  revision: string
  generated_at_ms: bigint
}

export interface HealthRequest {
}

export interface HealthResponse {
  status: number
  version: string
}

export interface Sandbox {
  metadata: ObjectMeta | null
  spec: SandboxSpec | null
  status: SandboxStatus | null
  phase: number
  current_policy_version: number
}

export interface SandboxSpec {
  log_level: string
  environment: Record<string, string>
  template: SandboxTemplate | null
  policy: SandboxPolicy | null
  providers: string[]
  gpu: boolean
}

export interface SandboxTemplate {
  image: string
  runtime_class_name: string
  agent_socket: string
  labels: Record<string, string>
  annotations: Record<string, string>
  environment: Record<string, string>
  resources: Struct | null
  volume_claim_templates: Struct | null
}

export interface SandboxStatus {
  sandbox_name: string
  agent_pod: string
  agent_fd: string
  sandbox_fd: string
  conditions: SandboxCondition[]
}

export interface SandboxCondition {
  type: string
  status: string
  reason: string
  message: string
  last_transition_time: string
}

export interface PlatformEvent {
  timestamp_ms: bigint
  source: string
  type: string
  reason: string
  message: string
  metadata: Record<string, string>
}

export interface CreateSandboxRequest {
  spec: SandboxSpec | null
  name: string
  labels: Record<string, string>
}

export interface GetSandboxRequest {
  name: string
}

export interface ListSandboxesRequest {
  limit: number
  offset: number
  label_selector: string
}

export interface DeleteSandboxRequest {
  name: string
}

export interface SandboxResponse {
  sandbox: Sandbox | null
}

export interface ListSandboxesResponse {
  sandboxes: Sandbox[]
}

export interface DeleteSandboxResponse {
  deleted: boolean
}

export interface CreateSshSessionRequest {
  sandbox_id: string
}

export interface CreateSshSessionResponse {
  sandbox_id: string
  token: string
  gateway_host: string
  gateway_port: number
  gateway_scheme: string
  connect_path: string
  host_key_fingerprint: string
  expires_at_ms: bigint
}

export interface RevokeSshSessionRequest {
  token: string
}

export interface RevokeSshSessionResponse {
  revoked: boolean
}

export interface ExecSandboxRequest {
  sandbox_id: string
  command: string[]
  workdir: string
  environment: Record<string, string>
  timeout_seconds: number
  stdin: Uint8Array
  tty: boolean
}

export interface ExecSandboxStdout {
  data: Uint8Array
}

export interface ExecSandboxStderr {
  data: Uint8Array
}

export interface ExecSandboxExit {
  exit_code: number
}

export interface ExecSandboxEvent {
  stdout: ExecSandboxStdout | null
  stderr: ExecSandboxStderr | null
  exit: ExecSandboxExit | null
  /** Which member is set. */
  readonly payload?: 'stdout' | 'stderr' | 'exit'
}

export interface SshSession {
  metadata: ObjectMeta | null
  sandbox_id: string
  token: string
  expires_at_ms: bigint
  revoked: boolean
}

export interface WatchSandboxRequest {
  id: string
  follow_status: boolean
  follow_logs: boolean
  follow_events: boolean
  log_tail_lines: number
  event_tail: number
  stop_on_terminal: boolean
  log_since_ms: bigint
  log_sources: string[]
  log_min_level: string
}

export interface SandboxStreamEvent {
  sandbox: Sandbox | null
  log: SandboxLogLine | null
  event: PlatformEvent | null
  warning: SandboxStreamWarning | null
  draft_policy_update: DraftPolicyUpdate | null
  /** Which member is set. */
  readonly payload?: 'sandbox' | 'log' | 'event' | 'warning' | 'draft_policy_update'
}

export interface SandboxLogLine {
  sandbox_id: string
  timestamp_ms: bigint
  level: string
  target: string
  message: string
  source: string
  fields: Record<string, string>
}

export interface SandboxStreamWarning {
  message: string
}

export interface CreateProviderRequest {
  provider: Provider | null
}

export interface GetProviderRequest {
  name: string
}

export interface ListProvidersRequest {
  limit: number
  offset: number
}

export interface UpdateProviderRequest {
  provider: Provider | null
}

export interface DeleteProviderRequest {
  name: string
}

export interface ProviderResponse {
  provider: Provider | null
}

export interface ListProvidersResponse {
  providers: Provider[]
}

export interface DeleteProviderResponse {
  deleted: boolean
}

export interface GetSandboxProviderEnvironmentRequest {
  sandbox_id: string
}

export interface GetSandboxProviderEnvironmentResponse {
  environment: Record<string, string>
}

export interface UpdateConfigRequest {
  name: string
  policy: SandboxPolicy | null
  setting_key: string
  setting_value: SettingValue | null
  delete_setting: boolean
  global: boolean
  merge_operations: PolicyMergeOperation[]
}

export interface PolicyMergeOperation {
  add_rule: AddNetworkRule | null
  remove_endpoint: RemoveNetworkEndpoint | null
  remove_rule: RemoveNetworkRule | null
  add_deny_rules: AddDenyRules | null
  add_allow_rules: AddAllowRules | null
  remove_binary: RemoveNetworkBinary | null
  /** Which member is set. */
  readonly operation?: 'add_rule' | 'remove_endpoint' | 'remove_rule' | 'add_deny_rules' | 'add_allow_rules' | 'remove_binary'
}

export interface AddNetworkRule {
  rule_name: string
  rule: NetworkPolicyRule | null
}

export interface RemoveNetworkEndpoint {
  rule_name: string
  host: string
  port: number
}

export interface RemoveNetworkRule {
  rule_name: string
}

export interface AddDenyRules {
  host: string
  port: number
  deny_rules: L7DenyRule[]
}

export interface AddAllowRules {
  host: string
  port: number
  rules: L7Rule[]
}

export interface RemoveNetworkBinary {
  rule_name: string
  binary_path: string
}

export interface UpdateConfigResponse {
  version: number
  policy_hash: string
  settings_revision: bigint
  deleted: boolean
}

export interface GetSandboxPolicyStatusRequest {
  name: string
  version: number
  global: boolean
}

export interface GetSandboxPolicyStatusResponse {
  revision: SandboxPolicyRevision | null
  active_version: number
}

export interface ListSandboxPoliciesRequest {
  name: string
  limit: number
  offset: number
  global: boolean
}

export interface ListSandboxPoliciesResponse {
  revisions: SandboxPolicyRevision[]
}

export interface ReportPolicyStatusRequest {
  sandbox_id: string
  version: number
  status: number
  load_error: string
}

export interface ReportPolicyStatusResponse {
}

export interface SandboxPolicyRevision {
  version: number
  policy_hash: string
  status: number
  load_error: string
  created_at_ms: bigint
  loaded_at_ms: bigint
  policy: SandboxPolicy | null
}

export interface GetSandboxLogsRequest {
  sandbox_id: string
  lines: number
  since_ms: bigint
  sources: string[]
  min_level: string
}

export interface PushSandboxLogsRequest {
  sandbox_id: string
  logs: SandboxLogLine[]
}

export interface PushSandboxLogsResponse {
}

export interface GetSandboxLogsResponse {
  logs: SandboxLogLine[]
  buffer_total: number
}

export interface SupervisorMessage {
  hello: SupervisorHello | null
  heartbeat: SupervisorHeartbeat | null
  relay_open_result: RelayOpenResult | null
  relay_close: RelayClose | null
  /** Which member is set. */
  readonly payload?: 'hello' | 'heartbeat' | 'relay_open_result' | 'relay_close'
}

export interface GatewayMessage {
  session_accepted: SessionAccepted | null
  session_rejected: SessionRejected | null
  heartbeat: GatewayHeartbeat | null
  relay_open: RelayOpen | null
  relay_close: RelayClose | null
  /** Which member is set. */
  readonly payload?: 'session_accepted' | 'session_rejected' | 'heartbeat' | 'relay_open' | 'relay_close'
}

export interface SupervisorHello {
  sandbox_id: string
  instance_id: string
}

export interface SessionAccepted {
  session_id: string
  heartbeat_interval_secs: number
}

export interface SessionRejected {
  reason: string
}

export interface SupervisorHeartbeat {
}

export interface GatewayHeartbeat {
}

export interface RelayOpen {
  channel_id: string
}

export interface RelayInit {
  channel_id: string
}

export interface RelayFrame {
  init: RelayInit | null
  data: Uint8Array
  /** Which member is set. */
  readonly payload?: 'init' | 'data'
}

export interface RelayOpenResult {
  channel_id: string
  success: boolean
  error: string
}

export interface RelayClose {
  channel_id: string
  reason: string
}

export interface L7RequestSample {
  method: string
  path: string
  decision: string
  count: number
}

export interface DenialSummary {
  sandbox_id: string
  host: string
  port: number
  binary: string
  ancestors: string[]
  deny_reason: string
  first_seen_ms: bigint
  last_seen_ms: bigint
  count: number
  suppressed_count: number
  total_count: number
  sample_cmdlines: string[]
  binary_sha256: string
  persistent: boolean
  denial_stage: string
  l7_request_samples: L7RequestSample[]
  l7_inspection_active: boolean
}

export interface PolicyChunk {
  id: string
  status: string
  rule_name: string
  proposed_rule: NetworkPolicyRule | null
  rationale: string
  security_notes: string
  confidence: number
  denial_summary_ids: string[]
  created_at_ms: bigint
  decided_at_ms: bigint
  stage: string
  supersedes_chunk_id: string
  hit_count: number
  first_seen_ms: bigint
  last_seen_ms: bigint
  binary: string
}

export interface DraftPolicyUpdate {
  draft_version: bigint
  new_chunks: number
  total_pending: number
  summary: string
}

export interface SubmitPolicyAnalysisRequest {
  summaries: DenialSummary[]
  proposed_chunks: PolicyChunk[]
  analysis_mode: string
  name: string
}

export interface SubmitPolicyAnalysisResponse {
  accepted_chunks: number
  rejected_chunks: number
  rejection_reasons: string[]
}

export interface GetDraftPolicyRequest {
  name: string
  status_filter: string
}

export interface GetDraftPolicyResponse {
  chunks: PolicyChunk[]
  rolling_summary: string
  draft_version: bigint
  last_analyzed_at_ms: bigint
}

export interface ApproveDraftChunkRequest {
  name: string
  chunk_id: string
}

export interface ApproveDraftChunkResponse {
  policy_version: number
  policy_hash: string
}

export interface RejectDraftChunkRequest {
  name: string
  chunk_id: string
  reason: string
}

export interface RejectDraftChunkResponse {
}

export interface ApproveAllDraftChunksRequest {
  name: string
  include_security_flagged: boolean
}

export interface ApproveAllDraftChunksResponse {
  policy_version: number
  policy_hash: string
  chunks_approved: number
  chunks_skipped: number
}

export interface EditDraftChunkRequest {
  name: string
  chunk_id: string
  proposed_rule: NetworkPolicyRule | null
}

export interface EditDraftChunkResponse {
}

export interface UndoDraftChunkRequest {
  name: string
  chunk_id: string
}

export interface UndoDraftChunkResponse {
  policy_version: number
  policy_hash: string
}

export interface ClearDraftChunksRequest {
  name: string
}

export interface ClearDraftChunksResponse {
  chunks_cleared: number
}

export interface GetDraftHistoryRequest {
  name: string
}

export interface DraftHistoryEntry {
  timestamp_ms: bigint
  event_type: string
  description: string
  chunk_id: string
}

export interface GetDraftHistoryResponse {
  entries: DraftHistoryEntry[]
}

export interface SandboxPolicy {
  version: number
  filesystem: FilesystemPolicy | null
  landlock: LandlockPolicy | null
  process: ProcessPolicy | null
  network_policies: Record<string, NetworkPolicyRule>
}

export interface FilesystemPolicy {
  include_workdir: boolean
  read_only: string[]
  read_write: string[]
}

export interface LandlockPolicy {
  compatibility: string
}

export interface ProcessPolicy {
  run_as_user: string
  run_as_group: string
}

export interface NetworkPolicyRule {
  name: string
  endpoints: NetworkEndpoint[]
  binaries: NetworkBinary[]
}

export interface NetworkEndpoint {
  host: string
  port: number
  protocol: string
  tls: string
  enforcement: string
  access: string
  rules: L7Rule[]
  allowed_ips: string[]
  ports: number[]
  deny_rules: L7DenyRule[]
  allow_encoded_slash: boolean
}

export interface L7DenyRule {
  method: string
  path: string
  command: string
  query: Record<string, L7QueryMatcher>
}

export interface L7Rule {
  allow: L7Allow | null
}

export interface L7Allow {
  method: string
  path: string
  command: string
  query: Record<string, L7QueryMatcher>
}

export interface L7QueryMatcher {
  glob: string
  any: string[]
}

export interface NetworkBinary {
  path: string
  harness: boolean
}

export interface GetSandboxConfigRequest {
  sandbox_id: string
}

export interface GetGatewayConfigRequest {
}

export interface GetGatewayConfigResponse {
  settings: Record<string, SettingValue>
  settings_revision: bigint
}

export interface SettingValue {
  string_value: string
  bool_value: boolean
  int_value: bigint
  bytes_value: Uint8Array
  /** Which member is set. */
  readonly value?: 'string_value' | 'bool_value' | 'int_value' | 'bytes_value'
}

export interface EffectiveSetting {
  value: SettingValue | null
  scope: number
}

export interface GetSandboxConfigResponse {
  policy: SandboxPolicy | null
  version: number
  policy_hash: string
  settings: Record<string, EffectiveSetting>
  config_revision: bigint
  policy_source: number
  global_policy_version: number
}

export interface Struct {
  fields: Record<string, Value>
}

export interface Value {
  nullValue: number
  numberValue: number
  stringValue: string
  boolValue: boolean
  structValue: Struct | null
  listValue: ListValue | null
  /** Which member is set. */
  readonly kind?: 'nullValue' | 'numberValue' | 'stringValue' | 'boolValue' | 'structValue' | 'listValue'
}

export interface ListValue {
  values: Value[]
}

/** Full protobuf name → message. */
export interface Messages {
  'openshell.compute.v1.GetCapabilitiesRequest': ComputeGetCapabilitiesRequest
  'openshell.compute.v1.GetCapabilitiesResponse': ComputeGetCapabilitiesResponse
  'openshell.compute.v1.DriverSandbox': ComputeDriverSandbox
  'openshell.compute.v1.DriverSandboxSpec': ComputeDriverSandboxSpec
  'openshell.compute.v1.DriverSandboxTemplate': ComputeDriverSandboxTemplate
  'openshell.compute.v1.DriverResourceRequirements': ComputeDriverResourceRequirements
  'openshell.compute.v1.DriverSandboxStatus': ComputeDriverSandboxStatus
  'openshell.compute.v1.DriverCondition': ComputeDriverCondition
  'openshell.compute.v1.DriverPlatformEvent': ComputeDriverPlatformEvent
  'openshell.compute.v1.ValidateSandboxCreateRequest': ComputeValidateSandboxCreateRequest
  'openshell.compute.v1.ValidateSandboxCreateResponse': ComputeValidateSandboxCreateResponse
  'openshell.compute.v1.GetSandboxRequest': ComputeGetSandboxRequest
  'openshell.compute.v1.GetSandboxResponse': ComputeGetSandboxResponse
  'openshell.compute.v1.ListSandboxesRequest': ComputeListSandboxesRequest
  'openshell.compute.v1.ListSandboxesResponse': ComputeListSandboxesResponse
  'openshell.compute.v1.CreateSandboxRequest': ComputeCreateSandboxRequest
  'openshell.compute.v1.CreateSandboxResponse': ComputeCreateSandboxResponse
  'openshell.compute.v1.StopSandboxRequest': ComputeStopSandboxRequest
  'openshell.compute.v1.StopSandboxResponse': ComputeStopSandboxResponse
  'openshell.compute.v1.DeleteSandboxRequest': ComputeDeleteSandboxRequest
  'openshell.compute.v1.DeleteSandboxResponse': ComputeDeleteSandboxResponse
  'openshell.compute.v1.WatchSandboxesRequest': ComputeWatchSandboxesRequest
  'openshell.compute.v1.WatchSandboxesSandboxEvent': ComputeWatchSandboxesSandboxEvent
  'openshell.compute.v1.WatchSandboxesDeletedEvent': ComputeWatchSandboxesDeletedEvent
  'openshell.compute.v1.WatchSandboxesPlatformEvent': ComputeWatchSandboxesPlatformEvent
  'openshell.compute.v1.WatchSandboxesEvent': ComputeWatchSandboxesEvent
  'openshell.credentials.v1.ResolveCredentialRequest': ResolveCredentialRequest
  'openshell.credentials.v1.ResolveCredentialResponse': ResolveCredentialResponse
  'openshell.credentials.v1.ListCredentialsRequest': ListCredentialsRequest
  'openshell.credentials.v1.ListCredentialsResponse': ListCredentialsResponse
  'openshell.credentials.v1.CredentialInfo': CredentialInfo
  'openshell.datamodel.v1.ObjectMeta': ObjectMeta
  'openshell.datamodel.v1.Provider': Provider
  'openshell.inference.v1.ClusterInferenceConfig': ClusterInferenceConfig
  'openshell.inference.v1.InferenceRoute': InferenceRoute
  'openshell.inference.v1.SetClusterInferenceRequest': SetClusterInferenceRequest
  'openshell.inference.v1.ValidatedEndpoint': ValidatedEndpoint
  'openshell.inference.v1.SetClusterInferenceResponse': SetClusterInferenceResponse
  'openshell.inference.v1.GetClusterInferenceRequest': GetClusterInferenceRequest
  'openshell.inference.v1.GetClusterInferenceResponse': GetClusterInferenceResponse
  'openshell.inference.v1.GetInferenceBundleRequest': GetInferenceBundleRequest
  'openshell.inference.v1.ResolvedRoute': ResolvedRoute
  'openshell.inference.v1.GetInferenceBundleResponse': GetInferenceBundleResponse
  'openshell.v1.HealthRequest': HealthRequest
  'openshell.v1.HealthResponse': HealthResponse
  'openshell.v1.Sandbox': Sandbox
  'openshell.v1.SandboxSpec': SandboxSpec
  'openshell.v1.SandboxTemplate': SandboxTemplate
  'openshell.v1.SandboxStatus': SandboxStatus
  'openshell.v1.SandboxCondition': SandboxCondition
  'openshell.v1.PlatformEvent': PlatformEvent
  'openshell.v1.CreateSandboxRequest': CreateSandboxRequest
  'openshell.v1.GetSandboxRequest': GetSandboxRequest
  'openshell.v1.ListSandboxesRequest': ListSandboxesRequest
  'openshell.v1.DeleteSandboxRequest': DeleteSandboxRequest
  'openshell.v1.SandboxResponse': SandboxResponse
  'openshell.v1.ListSandboxesResponse': ListSandboxesResponse
  'openshell.v1.DeleteSandboxResponse': DeleteSandboxResponse
  'openshell.v1.CreateSshSessionRequest': CreateSshSessionRequest
  'openshell.v1.CreateSshSessionResponse': CreateSshSessionResponse
  'openshell.v1.RevokeSshSessionRequest': RevokeSshSessionRequest
  'openshell.v1.RevokeSshSessionResponse': RevokeSshSessionResponse
  'openshell.v1.ExecSandboxRequest': ExecSandboxRequest
  'openshell.v1.ExecSandboxStdout': ExecSandboxStdout
  'openshell.v1.ExecSandboxStderr': ExecSandboxStderr
  'openshell.v1.ExecSandboxExit': ExecSandboxExit
  'openshell.v1.ExecSandboxEvent': ExecSandboxEvent
  'openshell.v1.SshSession': SshSession
  'openshell.v1.WatchSandboxRequest': WatchSandboxRequest
  'openshell.v1.SandboxStreamEvent': SandboxStreamEvent
  'openshell.v1.SandboxLogLine': SandboxLogLine
  'openshell.v1.SandboxStreamWarning': SandboxStreamWarning
  'openshell.v1.CreateProviderRequest': CreateProviderRequest
  'openshell.v1.GetProviderRequest': GetProviderRequest
  'openshell.v1.ListProvidersRequest': ListProvidersRequest
  'openshell.v1.UpdateProviderRequest': UpdateProviderRequest
  'openshell.v1.DeleteProviderRequest': DeleteProviderRequest
  'openshell.v1.ProviderResponse': ProviderResponse
  'openshell.v1.ListProvidersResponse': ListProvidersResponse
  'openshell.v1.DeleteProviderResponse': DeleteProviderResponse
  'openshell.v1.GetSandboxProviderEnvironmentRequest': GetSandboxProviderEnvironmentRequest
  'openshell.v1.GetSandboxProviderEnvironmentResponse': GetSandboxProviderEnvironmentResponse
  'openshell.v1.UpdateConfigRequest': UpdateConfigRequest
  'openshell.v1.PolicyMergeOperation': PolicyMergeOperation
  'openshell.v1.AddNetworkRule': AddNetworkRule
  'openshell.v1.RemoveNetworkEndpoint': RemoveNetworkEndpoint
  'openshell.v1.RemoveNetworkRule': RemoveNetworkRule
  'openshell.v1.AddDenyRules': AddDenyRules
  'openshell.v1.AddAllowRules': AddAllowRules
  'openshell.v1.RemoveNetworkBinary': RemoveNetworkBinary
  'openshell.v1.UpdateConfigResponse': UpdateConfigResponse
  'openshell.v1.GetSandboxPolicyStatusRequest': GetSandboxPolicyStatusRequest
  'openshell.v1.GetSandboxPolicyStatusResponse': GetSandboxPolicyStatusResponse
  'openshell.v1.ListSandboxPoliciesRequest': ListSandboxPoliciesRequest
  'openshell.v1.ListSandboxPoliciesResponse': ListSandboxPoliciesResponse
  'openshell.v1.ReportPolicyStatusRequest': ReportPolicyStatusRequest
  'openshell.v1.ReportPolicyStatusResponse': ReportPolicyStatusResponse
  'openshell.v1.SandboxPolicyRevision': SandboxPolicyRevision
  'openshell.v1.GetSandboxLogsRequest': GetSandboxLogsRequest
  'openshell.v1.PushSandboxLogsRequest': PushSandboxLogsRequest
  'openshell.v1.PushSandboxLogsResponse': PushSandboxLogsResponse
  'openshell.v1.GetSandboxLogsResponse': GetSandboxLogsResponse
  'openshell.v1.SupervisorMessage': SupervisorMessage
  'openshell.v1.GatewayMessage': GatewayMessage
  'openshell.v1.SupervisorHello': SupervisorHello
  'openshell.v1.SessionAccepted': SessionAccepted
  'openshell.v1.SessionRejected': SessionRejected
  'openshell.v1.SupervisorHeartbeat': SupervisorHeartbeat
  'openshell.v1.GatewayHeartbeat': GatewayHeartbeat
  'openshell.v1.RelayOpen': RelayOpen
  'openshell.v1.RelayInit': RelayInit
  'openshell.v1.RelayFrame': RelayFrame
  'openshell.v1.RelayOpenResult': RelayOpenResult
  'openshell.v1.RelayClose': RelayClose
  'openshell.v1.L7RequestSample': L7RequestSample
  'openshell.v1.DenialSummary': DenialSummary
  'openshell.v1.PolicyChunk': PolicyChunk
  'openshell.v1.DraftPolicyUpdate': DraftPolicyUpdate
  'openshell.v1.SubmitPolicyAnalysisRequest': SubmitPolicyAnalysisRequest
  'openshell.v1.SubmitPolicyAnalysisResponse': SubmitPolicyAnalysisResponse
  'openshell.v1.GetDraftPolicyRequest': GetDraftPolicyRequest
  'openshell.v1.GetDraftPolicyResponse': GetDraftPolicyResponse
  'openshell.v1.ApproveDraftChunkRequest': ApproveDraftChunkRequest
  'openshell.v1.ApproveDraftChunkResponse': ApproveDraftChunkResponse
  'openshell.v1.RejectDraftChunkRequest': RejectDraftChunkRequest
  'openshell.v1.RejectDraftChunkResponse': RejectDraftChunkResponse
  'openshell.v1.ApproveAllDraftChunksRequest': ApproveAllDraftChunksRequest
  'openshell.v1.ApproveAllDraftChunksResponse': ApproveAllDraftChunksResponse
  'openshell.v1.EditDraftChunkRequest': EditDraftChunkRequest
  'openshell.v1.EditDraftChunkResponse': EditDraftChunkResponse
  'openshell.v1.UndoDraftChunkRequest': UndoDraftChunkRequest
  'openshell.v1.UndoDraftChunkResponse': UndoDraftChunkResponse
  'openshell.v1.ClearDraftChunksRequest': ClearDraftChunksRequest
  'openshell.v1.ClearDraftChunksResponse': ClearDraftChunksResponse
  'openshell.v1.GetDraftHistoryRequest': GetDraftHistoryRequest
  'openshell.v1.DraftHistoryEntry': DraftHistoryEntry
  'openshell.v1.GetDraftHistoryResponse': GetDraftHistoryResponse
  'openshell.sandbox.v1.SandboxPolicy': SandboxPolicy
  'openshell.sandbox.v1.FilesystemPolicy': FilesystemPolicy
  'openshell.sandbox.v1.LandlockPolicy': LandlockPolicy
  'openshell.sandbox.v1.ProcessPolicy': ProcessPolicy
  'openshell.sandbox.v1.NetworkPolicyRule': NetworkPolicyRule
  'openshell.sandbox.v1.NetworkEndpoint': NetworkEndpoint
  'openshell.sandbox.v1.L7DenyRule': L7DenyRule
  'openshell.sandbox.v1.L7Rule': L7Rule
  'openshell.sandbox.v1.L7Allow': L7Allow
  'openshell.sandbox.v1.L7QueryMatcher': L7QueryMatcher
  'openshell.sandbox.v1.NetworkBinary': NetworkBinary
  'openshell.sandbox.v1.GetSandboxConfigRequest': GetSandboxConfigRequest
  'openshell.sandbox.v1.GetGatewayConfigRequest': GetGatewayConfigRequest
  'openshell.sandbox.v1.GetGatewayConfigResponse': GetGatewayConfigResponse
  'openshell.sandbox.v1.SettingValue': SettingValue
  'openshell.sandbox.v1.EffectiveSetting': EffectiveSetting
  'openshell.sandbox.v1.GetSandboxConfigResponse': GetSandboxConfigResponse
  'google.protobuf.Struct': Struct
  'google.protobuf.Value': Value
  'google.protobuf.ListValue': ListValue
}

/** RPC name → its messages and kind; names are unique over the services the gateway serves. */
export interface Rpcs {
  Health: { request: HealthRequest; response: HealthResponse; kind: 'unary' }
  CreateSandbox: { request: CreateSandboxRequest; response: SandboxResponse; kind: 'unary' }
  GetSandbox: { request: GetSandboxRequest; response: SandboxResponse; kind: 'unary' }
  ListSandboxes: { request: ListSandboxesRequest; response: ListSandboxesResponse; kind: 'unary' }
  DeleteSandbox: { request: DeleteSandboxRequest; response: DeleteSandboxResponse; kind: 'unary' }
  CreateSshSession: { request: CreateSshSessionRequest; response: CreateSshSessionResponse; kind: 'unary' }
  RevokeSshSession: { request: RevokeSshSessionRequest; response: RevokeSshSessionResponse; kind: 'unary' }
  ExecSandbox: { request: ExecSandboxRequest; response: ExecSandboxEvent; kind: 'serverStream' }
  CreateProvider: { request: CreateProviderRequest; response: ProviderResponse; kind: 'unary' }
  GetProvider: { request: GetProviderRequest; response: ProviderResponse; kind: 'unary' }
  ListProviders: { request: ListProvidersRequest; response: ListProvidersResponse; kind: 'unary' }
  UpdateProvider: { request: UpdateProviderRequest; response: ProviderResponse; kind: 'unary' }
  DeleteProvider: { request: DeleteProviderRequest; response: DeleteProviderResponse; kind: 'unary' }
  GetSandboxConfig: { request: GetSandboxConfigRequest; response: GetSandboxConfigResponse; kind: 'unary' }
  GetGatewayConfig: { request: GetGatewayConfigRequest; response: GetGatewayConfigResponse; kind: 'unary' }
  UpdateConfig: { request: UpdateConfigRequest; response: UpdateConfigResponse; kind: 'unary' }
  GetSandboxPolicyStatus: { request: GetSandboxPolicyStatusRequest; response: GetSandboxPolicyStatusResponse; kind: 'unary' }
  ListSandboxPolicies: { request: ListSandboxPoliciesRequest; response: ListSandboxPoliciesResponse; kind: 'unary' }
  ReportPolicyStatus: { request: ReportPolicyStatusRequest; response: ReportPolicyStatusResponse; kind: 'unary' }
  GetSandboxProviderEnvironment: { request: GetSandboxProviderEnvironmentRequest; response: GetSandboxProviderEnvironmentResponse; kind: 'unary' }
  GetSandboxLogs: { request: GetSandboxLogsRequest; response: GetSandboxLogsResponse; kind: 'unary' }
  PushSandboxLogs: { request: PushSandboxLogsRequest; response: PushSandboxLogsResponse; kind: 'clientStream' }
  ConnectSupervisor: { request: SupervisorMessage; response: GatewayMessage; kind: 'bidi' }
  RelayStream: { request: RelayFrame; response: RelayFrame; kind: 'bidi' }
  WatchSandbox: { request: WatchSandboxRequest; response: SandboxStreamEvent; kind: 'serverStream' }
  SubmitPolicyAnalysis: { request: SubmitPolicyAnalysisRequest; response: SubmitPolicyAnalysisResponse; kind: 'unary' }
  GetDraftPolicy: { request: GetDraftPolicyRequest; response: GetDraftPolicyResponse; kind: 'unary' }
  ApproveDraftChunk: { request: ApproveDraftChunkRequest; response: ApproveDraftChunkResponse; kind: 'unary' }
  RejectDraftChunk: { request: RejectDraftChunkRequest; response: RejectDraftChunkResponse; kind: 'unary' }
  ApproveAllDraftChunks: { request: ApproveAllDraftChunksRequest; response: ApproveAllDraftChunksResponse; kind: 'unary' }
  EditDraftChunk: { request: EditDraftChunkRequest; response: EditDraftChunkResponse; kind: 'unary' }
  UndoDraftChunk: { request: UndoDraftChunkRequest; response: UndoDraftChunkResponse; kind: 'unary' }
  ClearDraftChunks: { request: ClearDraftChunksRequest; response: ClearDraftChunksResponse; kind: 'unary' }
  GetDraftHistory: { request: GetDraftHistoryRequest; response: GetDraftHistoryResponse; kind: 'unary' }
  GetInferenceBundle: { request: GetInferenceBundleRequest; response: GetInferenceBundleResponse; kind: 'unary' }
  SetClusterInference: { request: SetClusterInferenceRequest; response: SetClusterInferenceResponse; kind: 'unary' }
  GetClusterInference: { request: GetClusterInferenceRequest; response: GetClusterInferenceResponse; kind: 'unary' }
}
