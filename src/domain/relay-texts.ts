/** TABLE of the public texts of supervisor streams, relays, SSH sessions and exec (spec/relay.md, decision 13). */
export const RELAY_TEXTS = {
  sandboxIdRequired: 'sandbox_id is required',
  sandboxNotFound: 'sandbox not found',
  sandboxNotReady: 'sandbox is not ready',
  tokenRequired: 'token is required',
  draining: 'gateway shutting down',

  helloExpected: 'expected SupervisorHello',
  closedBeforeHello: 'stream closed before hello',
  helloLate: 'no hello within 10 s',
  foreignSecret: 'sandbox secret does not belong to this sandbox',
  takeoverRefused: 'another supervisor holds the session of this sandbox',
  takeoverTooSoon: 'the session of this sandbox was taken over a moment ago',
  supervisorFlood: 'too many supervisor messages',
  supervisorSilent: 'supervisor heartbeats missing',
  supervisorSlow: 'supervisor does not read its stream',

  sessionMissing: 'supervisor session not connected',
  sessionGone: 'supervisor session disconnected',
  relayEmpty: 'empty RelayStream',
  relayInitFirst: 'first RelayFrame must be init with non-empty channel_id',
  relayFirstLate: 'no first RelayFrame within 10 s',
  relayUnknown: 'unknown or expired relay channel',
  relayDropped: 'relay channel dropped',
  relayLate: 'relay open timed out',
  requesterGone: 'relay requester dropped',

  sshRejected: 'ssh authentication rejected by sandbox',
  execsBusy: 'too many commands running',
  stdinTooLong: 'stdin exceeds 4194304 byte limit',
} as const
