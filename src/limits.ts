/**
 * Every size, count and time the gateway enforces, with one line of reason each (reliability.md §5 unless said
 * otherwise). A number that bounds something stands here and nowhere else.
 */
export const LIMITS = {
  // Messages
  /** What the reference accepts (spec/gateway.md §8.3). */
  receiveMessageBytes: 1_048_576,
  /**
   * Request bytes held for all calls together (F-12). Above, a call that holds more than `heldSmallBytes` is refused;
   * above twice as much, any. What a call of usual size holds is not counted.
   */
  heldBytes: 33_554_432,
  heldSmallBytes: 65_536,
  heldUncountedBytes: 4096,
  /** Messages of one client stream: what is above waits in the windows of the caller. */
  streamMessageBurst: 256,
  streamMessagesPerSecond: 2000,
  /** Clients accept no more than 4 MiB (decision 20, W25). */
  sendMessageBytes: 4_194_304,
  /** The largest answer: a page of providers, for clients that accept more (spec/providers.md, head). */
  answerBytes: 20_971_520,
  /** Answers that nobody has taken yet, all together. Small ones are not counted. */
  unreadBytes: 67_108_864,
  answerUncountedBytes: 65_536,
  /** A call waits this long for readers to make room for its page. */
  unreadWaitMs: 5000,
  /** By then a large answer has been taken whole, or its reader loses it. */
  unreadMs: 300_000,
  /** A status text, cut at a character (decision 20). */
  statusTextBytes: 4096,

  // HTTP/2
  /** Stream and connection window; both the same (platform.md §4). */
  windowBytes: 1_048_576,
  /** The protocol's own default, said aloud as the reference does. */
  frameBytes: 16_384,
  /** Names and values + 32 each (decision 22); above, a bare 431 and the connection stays. */
  headerListBytes: 32_768,
  /** What the engine itself refuses by a reset: far enough above to let us answer first. */
  engineHeaderListBytes: 65_535,
  /** What one connection may make the engine hold, in MiB. */
  sessionMemoryMib: 64,
  /** How long somebody on our port may take to answer before the start goes on. */
  portTryMs: 500,
  /** Streams over the cap that are refused before the connection ends (platform.md §5). */
  rejectedStreams: 1000,
  /** Streams of one address that have said nothing yet (F-08); a further one is refused like one over the cap. */
  silentStreamsPerAddress: 2048,
  /** Streams refused for that until it is counted again, and between two collections of what they left. */
  silentStreamsPerCount: 256,
  silentStreamsPerCollection: 512,
  /** Users whose calls are counted (F-18); the one that was seen longest ago starts anew. */
  fairShareUsers: 4096,
  /** A supervisor's relays share one connection (decision 30). */
  concurrentStreams: 200,
  /** PING of ours, and how long its answer may take (decision 22). */
  keepaliveMs: 30_000,
  keepaliveTimeoutMs: 20_000,
  /** How late a ping or its missing answer may be noticed. */
  keepaliveSweepMs: 1000,
  /** How late a deadline of a row may be noticed. */
  deadlineSweepMs: 100,

  // Log
  /** One value of a line (I-01). */
  logFieldChars: 8192,
  /** Bytes of finished lines waiting for a reader; above, informational lines are dropped and counted (decision 26). */
  logQueueBytes: 1_048_576,
  /** Audit lines may fill the queue to here before they are dropped too. */
  logAuditBytes: 4_194_304,
  /** From here on lines may soon be lost; what is left is for the calls under way (O-03). */
  logBehindBytes: 2_097_152,
  /** How soon a full pipe, and a full disk, is tried again. */
  logReaderRetryMs: 20,
  logDiskRetryMs: 200,

  // Connections (net/)
  /** Main port; the descriptor limit may lower it (F-14). */
  connections: 4096,
  /** One client must not take all of them; 0 = off, for gateways behind a proxy. */
  connectionsPerAddress: 256,
  /** Descriptors kept free for the store, drivers, files and answers to those already connected (M13). */
  descriptorsReserved: 256,
  /** Accept to the end of the TLS handshake (F-10). */
  tlsHandshakeMs: 5000,
  /** Accept to the first complete request head or HTTP/2 preface and SETTINGS (F-09, F-11). */
  firstRequestMs: 10_000,
  /** A further HTTP/1.1 request, head and body, from its first byte (F-11). */
  httpRequestMs: 10_000,
  /** A kept HTTP/1.1 connection between requests (spec/gateway.md §8 [B]). */
  httpIdleMs: 60_000,
  /** Longer than any header a mesh or login proxy adds (W-24). */
  httpHeadBytes: 65_536,
  /** As the reference (spec/gateway.md §8.2). */
  httpHeaders: 100,
  httpTargetBytes: 65_534,
  /** CONNECT requests one connection may have refused and go on. */
  httpRefusedConnects: 8,
  /** A connection being closed may take this long to read its last answer. */
  closeLingerMs: 1000,
  /** Held for an HTTP/2 connection in each direction between engine and socket. */
  socketBufferBytes: 131_072,
  /** Health and metrics ports, each, serve probes and one scraper (O-05). */
  sideConnections: 64,
  /** Of the descriptors, a side port gets this part at most: under a low limit the main port must not starve (F-14). */
  sideDescriptorShare: 16,
  sideStreams: 16,

  // Frame meter of one HTTP/2 connection (F-03 to F-06)
  /** Received before the first authenticated call: one full message plus slack (M4, M5), and what a health check needs for ever. */
  unauthenticatedBytes: 2_097_152,
  unauthenticatedBytesPerSecond: 16_384,
  /** Per header block; the ninth closes. */
  continuationFrames: 8,
  /** PRIORITY, unknown, empty DATA, SETTINGS and idle PING frames together. */
  controlFrameBurst: 10_000,
  controlFramesPerSecond: 330,
  /**
   * WINDOW_UPDATE frames: a fixed part, two for each frame of a call received and one for so many bytes sent. gRPC's C
   * library sends two for every message of 24 bytes on the wire; reliability §5's one per 2 KiB cuts it after 1 000 calls.
   */
  windowUpdateFrames: 2000,
  windowUpdatesPerFrame: 2,
  sentBytesPerWindowUpdate: 8,
  /** More than the 17 bytes of a PING answer: a peer that was sent this much may probe the bandwidth (decision 30). */
  sentBytesPerProbe: 24,
  resetFrameBurst: 1000,
  resetFramesPerSecond: 33,
  /** DATA frames smaller than this, or padded: far more than the calls and relays of one connection can need (F-06). */
  smallDataBytes: 256,
  smallDataBurst: 200_000,
  smallDataPerSecond: 60_000,

  // TLS files
  /** Change times are looked at this often beside the watch (T-05). */
  tlsPollMs: 30_000,
  /** Files settle this long before they are read again. */
  tlsDebounceMs: 1000,
  tlsFileBytes: 1_048_576,

  // Connect page
  /** Reloads of the waiting page, 2 s apart: as long as the command line tool waits (spec/auth.md §7.3). */
  waitingPageRounds: 60,
  waitingPages: 1024,
  waitingPageMs: 300_000,

  // Readiness
  readinessPeriodMs: 5000,
  readinessTimeoutMs: 2000,
  eventLoopSampleMs: 500,
  /** Values one reason label may take (O-04). */
  metricReasons: 64,

  // Embedded local driver
  /** SIGTERM to SIGKILL for the processes of a sandbox that is deleted. */
  localStopMs: 5_000,
  /** How often processes are looked at whose end no signal tells: adopted ones, and the driver itself by its sandboxes. */
  localPollMs: 1_000,
  /** A sandbox whose driver is gone this long ends by itself. */
  localOrphanMs: 30_000,
  localSandboxes: 256,
  /** Events that wait for a slow reader of the watch; above, the watch is ended and replayed when it is reopened. */
  localWatchQueue: 1_024,

  // Drivers
  /** Deadline of each call to a driver (reliability.md §5); a caller may shorten it. */
  driverCapabilitiesMs: 5_000,
  driverValidateMs: 10_000,
  driverCreateMs: 60_000,
  driverDeleteMs: 60_000,
  driverGetMs: 10_000,
  driverListMs: 10_000,
  driverResolveMs: 5_000,
  /** Calls in flight to one driver; more are refused at once (D-07). */
  driverCallsInFlight: 64,
  /** One answer of a driver (D-06). */
  driverAnswerBytes: 4_194_304,
  /** Calls in a row without an answer before the connection is given up (D-04). */
  driverTimeoutsToTrip: 5,
  /** From connect(2) to the peer's HTTP/2 settings: a stopped process accepts and never speaks. */
  driverDialMs: 5_000,
  /** Waits between tries to connect (decision 15). */
  driverBackoffFirstMs: 100,
  driverBackoffMostMs: 5_000,
  /** A connection that lived this long starts the waits anew. */
  driverConnectionSteadyMs: 1_000,
  /** How often an absent driver's path is looked at: a new socket is dialled at once (D-02: usable in 500 ms). */
  driverPathPollMs: 100,
  /** An absent driver is logged at the first failure and then this often (decision 15). */
  driverLogEveryMs: 10_000,
  /** How long a Get, List or Resolve that lost its connection waits for the next one (D-03). */
  driverRetryWaitMs: 1_000,
  /** GetCapabilities beside an open watch (decision 16). */
  driverProbeEveryMs: 30_000,
  /** Waits between watches that fail; one that ends OK after `driverWatchHealthyMs` is reopened at once. */
  driverWatchBackoffFirstMs: 250,
  driverWatchBackoffMostMs: 5_000,
  driverWatchHealthyMs: 1_000,
  /** No HTTP/2 ping to a driver more often than this (decision 16). */
  driverPingMs: 360_000,
  /** A credential's token: what fits into a header everywhere (D-12). */
  credentialTokenBytes: 16_384,
  /** A credential without a lifetime is stamped "expires now"; later than this it is expired (spec/providers.md §14.2). */
  credentialExpiredLeewayMs: 10_000,
  /** An expiry further away than ten years is a mistake (D-12). */
  credentialFarthestExpiryMs: 315_360_000_000,
  /** Credentials a driver may list. */
  credentialsListed: 10_000,
  /** Restart of a driver process: doubling waits, SIGTERM, and this long to go before SIGKILL. */
  driverRestartFirstMs: 250,
  driverRestartMostMs: 30_000,
  driverStopMs: 2_000,
  /** A driver process that ran this long starts its waits anew. */
  driverSteadyMs: 30_000,
  /** One line of a driver's output, and lines logged per second. */
  driverLineBytes: 8_192,
  driverLinesPerSecond: 200,

  /** How often an open API is warned of again (spec/auth.md A-7). */
  cautionRepeatMs: 3_600_000,
  /** How long the main port stays closed for drivers and an issuer that are not there yet (decision 15 waits no longer). */
  peersAtStartMs: 1000,
  /** How long an ending process waits for its last lines to be read. */
  logFlushMs: 500,

  // Lists
  pageDefault: 100,
  pageMost: 1000,

  // Store
  /** How long a call waits for the database: another process's lock, the writer queue, a statement (S-04, S-17). */
  storeWaitMs: 5000,
  /** Pause between tries while another process holds the SQLite lock. */
  storeBusyRetryMs: 10,
  /** One transaction from begin to commit; above, it is rolled back, as it keeps all other writers out. */
  storeTransactionMs: 10_000,
  /** Transactions waiting for the one writer; above, UNAVAILABLE. */
  storeWaiting: 1024,
  /** Rows per step of a scan. */
  storeScanRows: 200,
  /** Label texts kept in parsed form, and the longest of them: about 1 MiB together. */
  storeLabelsKept: 1024,
  storeLabelsChars: 512,
  /** A SQLite file up to this size is read and checked as a whole at start (S-05); about 1 s per GiB. */
  storeCheckBytes: 1_073_741_824,
  /** The write-ahead log is cut back to this after a checkpoint. */
  storeLogBytes: 16_777_216,
  /** One statement to PostgreSQL as the gateway waits for it: the server's own limit of `storeWaitMs` and the way there and back (S-17). */
  storeCallMs: 5500,
  /** PostgreSQL connections (S-17). */
  storePoolMost: 10,
  /** How long the start waits for a PostgreSQL server that refuses connections (spec/storage.md §1). */
  storeConnectMs: 30_000,
  /** One try to connect to PostgreSQL. */
  storeConnectTryMs: 5000,

  // Supervisors and relays (spec/relay.md §1, reliability R)
  /** Announced to supervisors and kept by the gateway. */
  heartbeatSecs: 15,
  /** Silence of a supervisor that is known to send heartbeats: three of them missed (W8). */
  supervisorSilenceMs: 45_000,
  /** Wait for the first message of ConnectSupervisor and RelayStream (W7). */
  helloWaitMs: 10_000,
  /** Messages of one supervisor. */
  supervisorMessagesPerSecond: 100,
  supervisorMessageBurst: 200,
  /** Messages waiting for one supervisor; above, its session is dropped (W9). */
  supervisorQueue: 64,
  /** One message may wait this long for a supervisor that does not read (W9). */
  supervisorSendMs: 10_000,
  /** A session may be taken over from another address this often. */
  takeoverPauseMs: 5000,
  /** How long a client of CONNECT waits for a supervisor to be there. */
  tunnelSupervisorWaitMs: 30_000,
  /** The same for ExecSandbox; longer when the caller's deadline allows, as supervisors come back within 30 s (W12). */
  execSupervisorWaitMs: 15_000,
  execSupervisorWaitMostMs: 30_000,
  /** An announced relay must be claimed within this. */
  relayClaimMs: 10_000,
  /** Announced and not yet claimed, in all and of one sandbox. */
  relaysPending: 256,
  relaysPendingPerSandbox: 32,
  /** Data in one frame towards a supervisor: what the reference sends. */
  relayFrameBytes: 16_384,
  /** Held for a relay in each direction before its source is paused. */
  relayBufferBytes: 65_536,
  /** After the gateway's end of a relay is gone, how long the supervisor may go on before the stream is closed. */
  relayLingerMs: 5000,
  /** One direction has ended and nothing moves in the other. */
  halfClosedMs: 60_000,
  /** Open tunnels of one SSH token and of one sandbox. */
  tunnelsPerToken: 3,
  tunnelsPerSandbox: 20,
  /** SSH sessions that are over are removed this often. */
  sshReapMs: 3_600_000,
  /** WebSocket tunnels in all and of one address (spec/gateway.md §11.1). */
  webSocketTunnels: 1024,
  webSocketTunnelsPerAddress: 64,
  /** One message of a WebSocket tunnel: the largest that clients are known to send, doubled. */
  webSocketMessageBytes: 4_194_304,
  webSocketFrameBytes: 32_768,
  /** Between the close frames and the end of the connection. */
  webSocketCloseMs: 500,
  webSocketPingMs: 30_000,
  /** Unanswered pings that end a WebSocket tunnel. */
  webSocketPingsMissed: 2,

  // ExecSandbox (spec/relay.md §6)
  execArguments: 1024,
  execArgumentBytes: 32_768,
  execWorkdirBytes: 4096,
  /** Linux takes no longer single argument, and the daemon hands the line over as one (W38). */
  execLineBytes: 131_071,
  /** What the command line tool sends at most. */
  execStdinBytes: 4_194_304,
  /** One ExecSandbox message: standard input and the largest of everything else. */
  execMessageBytes: 5_242_880,
  /** Running at once; above the caps of unclaimed relays, so that those answer first. */
  execsPerSandbox: 64,
  execsInAll: 512,
  /** SSH handshake over a claimed relay. */
  execHandshakeMs: 20_000,
  /** Channel open and the answer to the exec request. */
  execReplyMs: 30_000,
  /** SSH keep-alive of an exec; so many unanswered ones end it (W21). */
  execKeepaliveMs: 15_000,
  execKeepalivesMissed: 4,
  /** Between the exit status, or the last output after it, and the close of the channel (W23). */
  execCloseMs: 500,
  /** Output waiting for the caller of an exec before the command is held back. */
  execBufferBytes: 262_144,

  // Calls (reliability.md §5)
  /** A unary call; a client's own deadline counts when it is shorter. */
  rpcDeadlineMs: 30_000,
  /** Unary calls that wait for the compute driver. */
  driverRpcDeadlineMs: 120_000,

  // Tokens (spec/auth.md §6, reliability.md §7)
  /** A bearer token; directories reach 8 KiB (J-41). */
  tokenBytes: 16_384,
  /** Nesting of a token's JSON (J-42). */
  tokenDepth: 32,
  /** `sub`, `azp`, `client_id` and names shown in logs, in characters (J-26). */
  subjectChars: 256,
  kidChars: 1024,
  /** Expiry further ahead is no expiry (J-18). */
  tokenLifetimeMs: 10 * 365 * 86_400_000,
  /** Roles and scopes of one token (J-30). */
  tokenRoles: 1024,
  tokenRoleBytes: 256,
  /** Names in the path to a claim (J-31). */
  claimPathSegments: 16,
  /** Verified tokens remembered, and for how long at most. */
  verifiedTokens: 4096,
  verifiedTokenMs: 300_000,

  // Issuer (spec/auth.md §6.4 [B], reliability.md §5)
  issuerDocumentBytes: 65_536,
  issuerFetchMs: 5000,
  /** A document may move within its origin this often. */
  issuerRedirects: 3,
  issuerKeys: 64,
  rsaBitsLeast: 2048,
  rsaBitsMost: 8192,
  /** Keys are fetched again after the configured time, kept within these bounds (A-16 of spec/auth.md). */
  jwksTtlLeastMs: 30_000,
  jwksTtlMostMs: 86_400_000,
  /** How long keys are good after the last successful fetch (K-03). */
  jwksStaleMs: 86_400_000,
  /** One fetch for unknown key ids in this time (J-13), so many at once after a quiet time (spec/auth.md §6.4). */
  unknownKidCooldownMs: 30_000,
  unknownKidBurst: 3,
  /** Key ids known to be unknown (J-14). */
  unknownKids: 256,
  /** Calls waiting for one fetch of keys; more are refused. */
  keyWaiters: 64,
  /** Waiting between tries to reach the issuer: before it answered once (decision 15), and later (K-02: one a minute). */
  issuerConnectFirstMs: 100,
  issuerConnectMostMs: 5000,
  issuerRetryFirstMs: 1000,
  issuerRetryMostMs: 75_000,
  /** Share by which such a wait is shortened at random, at most. */
  issuerRetryJitter: 0.2,
  /** Least time between two log lines about an issuer that does not answer (decision 15). */
  issuerLogMs: 10_000,
  /** Failed fetches of keys in a row after which discovery is repeated. */
  rediscoverAfter: 3,

  // Sandbox secret (spec/auth.md; reliability A-08)
  /** Sandboxes whose own secret is recognised. */
  secretSandboxes: 65_536,
  /** Secrets computed before other work gets its turn. */
  secretSlice: 500,
  /** Least time between two looks at the list of sandboxes for an unknown secret, and how long a list is trusted. */
  secretRelistMs: 1000,
  secretListMs: 60_000,
  /** Calls waiting for the list of sandboxes; more are refused. */
  secretWaiters: 64,
  /** Wrong secrets of one address in a window before answers are held back, and of one connection before it ends. */
  secretFailures: 20,
  secretFailureWindowMs: 60_000,
  secretFailuresPerConnection: 50,
  secretPenaltyMs: 1000,
  /** Answers held back at once; above, they are given at once. */
  secretPenalties: 256,
  /** Addresses under observation. */
  secretAddresses: 4096,

  // Policy, settings, drafts
  /** One policy, after every mutation (spec/policy.md W3). */
  policyBytes: 262_144,
  /** Joined violation texts of one refusal; the status text is cut at 4 KiB anyway (decision 20). */
  violationTextChars: 3000,
  /** Tries of one policy or settings write that loses against another gateway on the same database (spec/policy.md §6.2). */
  policyWriteAttempts: 5,
  /** Operations of one merge, and endpoints that they add: each is compared with all that are there. */
  policyMergeItems: 1000,
  /** Revisions kept for one sandbox beside loaded ones (spec/storage.md W9). */
  policyRevisionsKept: 200,
  /** Revisions that one write stores: approving very many chunks at once keeps the last steps of it. */
  policyRevisionsOfWrite: 20,
  /** Revisions that one write removes at most: a file of the reference may hold thousands. */
  policyRevisionsPruned: 50,
  /** Rows of ListSandboxPolicies when the caller names no limit (spec/policy.md §4.4). */
  policyPageDefault: 50,
  /** Why a supervisor could not load a policy (spec/policy.md W24). */
  loadErrorBytes: 4096,
  /** Policies whose hash is remembered, so that a poll decodes none of them (spec/policy.md W25). */
  policyHashesRemembered: 512,
  /** Proposals of one SubmitPolicyAnalysis; further ones are rejected with a reason (spec/policy.md W21). */
  draftsPerCall: 200,
  /** Proposals kept for one sandbox; the oldest rejected one makes room (spec/policy.md W21). */
  draftsPerSandbox: 2000,
  /** Why a rule is proposed (spec/policy.md W21). */
  draftRationaleBytes: 4096,
  /** Name of a proposed rule. */
  draftNameBytes: 253,
  /** Endpoints, and binaries, of one proposed rule (spec/policy.md W21). */
  draftRuleItems: 64,
  /** What is remembered of one approval so that it can be taken back: the rule before and after. */
  draftApprovalBytes: 16_384,
  /** Most that one submission adds to a hit count (spec/policy.md §8.1). */
  draftHitsPerCall: 100,
  /** Chunks approved in one transaction of ApproveAllDraftChunks. */
  draftsPerWrite: 100,
  /** Work on chunks before others get their turn of the event loop. */
  draftTurnMs: 5,
  /** Proposals read and encoded, approved or removed between two turns of the event loop. */
  draftRowsPerTurn: 512,

  // Sandbox records (spec/sandbox.md §3.1)
  nameBytes: 253,
  sandboxProviders: 32,
  sandboxLogLevelBytes: 32,
  templateTextBytes: 1024,
  mapEntries: 128,
  mapKeyBytes: 256,
  mapValueBytes: 8192,
  structBytes: 65_536,
  /**
   * Each level is three messages inside each other, and most clients decode no more than 100: one sandbox above this
   * would make lists unreadable for everybody (I-07).
   */
  structDepth: 32,
  labelKeyBytes: 253,
  labelTextBytes: 63,
  /** A selector is read in one pass and becomes one query (I-03). */
  selectorBytes: 8192,
  selectorPairs: 64,
  policyPaths: 256,
  policyPathBytes: 4096,
  /** Generated names tried before a suffix makes one unique (W2). */
  nameTries: 4,

  // Providers (spec/providers.md §1)
  providerTypeBytes: 64,
  providerCredentials: 32,
  providerConfig: 64,

  // Answers with stored records
  /** A page of sandboxes ends early below the 4 MiB that clients accept (W25). */
  pageBytes: 3_670_016,
  /** Providers are answered beyond that, as clients with a larger limit expect; here the memory of one call ends. */
  providerPageBytes: 16_777_216,
  /** Rows read at a time for a page. */
  pageRows: 100,

  // What a compute driver says about a sandbox (W38)
  driverConditions: 32,
  driverTextChars: 4096,
  driverEventMetadata: 64,
  /** Observations of one sandbox that are applied: at once up to the burst, then this many a second, newest wins (D-09). */
  observationBurst: 64,
  observationsPerSecond: 10,
  /** Ids of sandboxes that are gone, remembered so that late words about them are not taken for strangers. */
  tombstones: 10_000,

  // Reconciliation (spec/sandbox.md §15, W7 to W12)
  sweepEveryMs: 60_000,
  /** Least time between two sweeps, however often the watch is reopened (D-08). */
  sweepLeastMs: 2000,
  /** A record is given up when its sandbox was missing for so long, in so many sweeps, and is that old (W11, D-11). */
  orphanGraceMs: 300_000,
  orphanSweeps: 3,
  /** Waiting between looks at a sandbox that is being deleted (W12). */
  deletePollFirstMs: 2000,
  deletePollMostMs: 30_000,
  /** Deletions followed at once. */
  deletesInFlight: 4,
  /** An empty reason is no failure for so long after creation (W33). */
  youngSandboxMs: 60_000,

  // Sandbox logs and events (reliability.md §5)
  logLines: 2000,
  logLineBytes: 8192,
  logSandboxBytes: 4_194_304,
  logTotalBytes: 268_435_456,
  logTailDefault: 200,
  /** Lines of one pushed batch that are taken (spec/sandbox.md §6.2). */
  pushBatchLines: 100,
  pushLinesPerSecond: 1000,
  pushLineBurst: 10_000,
  /** A pushed time further ahead of ours than this becomes ours (W22). */
  pushAheadMs: 300_000,
  /** Ids whose first log line came before anyone knew whether the sandbox exists, and lines held for one. */
  logUnproven: 256,
  logUnprovenLines: 16,
  platformEvents: 256,
  platformEventTail: 50,
  platformEventBytes: 16_384,

  // WatchSandbox (reliability.md §5)
  watchStreams: 1024,
  watchStreamsPerUser: 64,
  /** A watch outlives the token that opened it by this, unless a flag says otherwise. */
  watchAfterTokenSecs: 600,
  /** Log lines sent before status and events get their turn. */
  watchBatch: 64,

  // Configuration
  /** More tolerance makes `exp` meaningless. */
  oidcLeewayMostSecs: 120,
  /** Sandbox secrets shorter than this are accepted with a warning. */
  handshakeSecretBytes: 16,
  /** A file that holds one secret. */
  secretFileBytes: 65_536,
  /** After the grace period of a shutdown, how long until the process ends whatever still runs. */
  shutdownSlackMs: 5000,
  /** Within this the same signal again is the first one, passed on by the program that started the gateway. */
  signalEchoMs: 300,
  /** How long the last answers of a drain may take to leave their connections. */
  drainFlushMs: 1000,

  // Embedded supervisor and client commands
  /** One try to connect. */
  dialMs: 10_000,
  /** Pauses between tries of the embedded supervisor. */
  supervisorRetryFirstMs: 1000,
  supervisorRetryMostMs: 30_000,
  /** A supervisor's ping goes unanswered for this long: the connection is dead (spec/relay.md §2). */
  supervisorPingMs: 10_000,
  supervisorPingTimeoutMs: 20_000,
  /** SSH connections that one embedded supervisor serves at once. */
  sandboxSshConnections: 64,
  /** A process of a sandbox gets this long between SIGHUP and SIGKILL when its channel is gone. */
  sandboxKillMs: 1000,
  /** Terminal output that waits for a slow client; above, the session is ended. */
  sandboxTerminalBytes: 33_554_432,
  /** Open files and directories of one SFTP session. */
  sftpHandles: 256,
  /** Log lines of the embedded supervisor that wait to be sent. */
  supervisorLogQueue: 512,
  /** Clients of the tunnel read no more than this of an answer's head. */
  connectHeadBytes: 8192,
  /** `ssh-proxy` waits for a sandbox that is not ready (spec/relay.md §12). */
  tunnelRetryFirstMs: 1000,
  tunnelRetryMostMs: 8000,
  tunnelRetryForMs: 60_000,
  /** `ssh-proxy` revokes its session in this time, or leaves it to expire. */
  tunnelRevokeMs: 5000,

  // Credentials held by the driver (decision 17, spec/providers.md §14.4)
  /** A token is not handed out in the last half minute of its life, */
  credentialMarginMs: 30_000,
  /** is fetched anew in the background from a minute before its end, */
  credentialRefreshMs: 60_000,
  /** and is kept this long at least, whatever its expiry says: a driver may not know one. */
  credentialFloorMs: 5000,
  /** Waits between tries for a name that the driver cannot resolve. */
  credentialBackoffFirstMs: 250,
  credentialBackoffMostMs: 5000,
  /** The driver's own deadline and this: a call that never settles must not hold its callers. */
  credentialSettleMs: 6000,
  /** Names remembered; the least recently used one makes room. */
  credentialsCached: 256,
  /** Names resolved side by side for one sandbox. */
  credentialsParallel: 8,
  /** References one sandbox may have resolved: 32 providers with 32 credentials each (spec/providers.md §1). */
  credentialReferences: 1024,

  // Inference (spec/providers.md §11, §12)
  /** Verification of an endpoint, all tries and redirects together (W13). */
  inferenceProbeMs: 15_000,
  /** To an open connection. */
  inferenceConnectMs: 5000,
  /** Of an answer's body (I-12, W13). */
  inferenceBodyBytes: 65_536,
  /** Answers of status 1xx that an endpoint may send before its answer; one that sends them without end holds up all others. */
  inferenceInterimAnswers: 16,
  /** Characters of an error body that an administrator is shown. */
  inferenceBodyShown: 200,
  inferenceModelBytes: 512,
  /** Seconds a route's requests may take (W14). */
  inferenceTimeoutMostSecs: 3600,
  /** Verifications under way; more are refused. */
  inferenceProbes: 8,

  // Client: sign-in and calls (spec/client.md §7 to §11, §18)
  /** A unary call of the client commands: more than the longest the gateway allows one. */
  clientCallMs: 130_000,
  /** One answer of a gateway: its largest page of providers, and room. */
  clientAnswerBytes: 33_554_432,
  /** JSON of one request on standard input. */
  clientRequestChars: 4_194_304,
  /** A health check from end to end. */
  healthCheckMs: 5000,
  /** One request to an issuer, answer included, and the size of that answer (spec/client.md §18 row 4). */
  signInRequestMs: 10_000,
  signInAnswerBytes: 65_536,
  /** A person has this long to sign in in the browser. */
  signInWaitMs: 120_000,
  /** Connections of one callback listener at a time, and bytes of a body it reads. */
  callbackConnections: 16,
  callbackBodyBytes: 65_536,
  /** How long the last page has to reach the browser before the listener closes. */
  callbackFarewellMs: 1000,
  /** Wrong confirmation codes until a sign-in at an edge is given up: far too few to guess 35 bits. */
  edgeWrongCodes: 20,
  /** Polling of the device grant (RFC 8628 §3.2, §3.5). */
  devicePollDefaultMs: 5000,
  devicePollLeastMs: 1000,
  devicePollMostMs: 60_000,
  deviceSlowDownMs: 5000,
  deviceWaitMostMs: 1_800_000,
  /** A token is renewed this long before its end, or after three quarters of a shorter life. */
  tokenRenewMs: 60_000,
  /** How long a process waits for another that renews the same token, and how often it looks. */
  tokenLockWaitMs: 30_000,
  tokenLockPollMs: 25,
  /** Clock difference to the issuer that is worth a warning. */
  clockSkewWarnSecs: 60,
  /** A file of certificates: those of a whole system are a quarter of a megabyte. */
  pemFileBytes: 8_388_608,
  /** A registry file (spec/client.md §4). */
  registryFileBytes: 262_144,

  /** A file that holds one log level. */
  levelFileBytes: 1024,

  // Memory of a quiet process
  /** How often it is looked whether the process is quiet. */
  quietLookMs: 1000,
  /** Looks back to what the processor time is compared with. */
  quietLooks: 5,
  /** Less of one processor than this over so many looks is quiet: more than a thousand idle supervisors ever use. */
  quietCpuShare: 0.12,
  /** Growth since the last time that is worth it: about what the code of a busy gateway takes. */
  quietGrowthBytes: 8_388_608,
  /** By then the runtime has shrunk, which takes code that nothing else does. */
  quietShrinkMs: 2000,
  /** Least time between two times: what is called again has to be compiled again. */
  quietPauseMs: 30_000,
  /** Times the usual thirty calls until a function of a quiet process is compiled. */
  quietJitScale: 10_000,
  /** Supervisors accepted between two collections of what died young. */
  sessionsPerCollection: 32,

  // Service manager
  /** One word to the service manager: it reads at once, or is not there. */
  notifySendMs: 1000,
  /** A shorter watchdog would be fed more often than is worth it. */
  watchdogLeastMs: 100,
} as const
