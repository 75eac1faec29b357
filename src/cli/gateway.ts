import type { CommandGroup } from './command.ts'

/** `gateway …`: the gateways this user knows, and signing in to them. The group is also called `gw`. */
export const group: CommandGroup = {
  commands: [
    {
      name: 'add',
      about: 'Register a gateway, sign in to it and make it the active one',
      load: async () => (await import('./gateway-add.ts')).command,
    },
    {
      name: 'login',
      about: 'Sign in to a gateway',
      load: async () => (await import('./gateway-login.ts')).command,
    },
    {
      name: 'logout',
      about: 'Forget the tokens of a gateway and end the session at its issuer',
      load: async () => (await import('./gateway-logout.ts')).command,
    },
    {
      name: 'status',
      about: 'Show whether a gateway answers and what it thinks of your token',
      load: async () => (await import('./gateway-status.ts')).command,
    },
    {
      name: 'list',
      about: 'List the registered gateways',
      load: async () => (await import('./gateway-list.ts')).command,
    },
    {
      name: 'select',
      about: 'Make a gateway the active one',
      load: async () => (await import('./gateway-select.ts')).command,
    },
    {
      name: 'info',
      about: 'Show what is registered about a gateway',
      load: async () => (await import('./gateway-info.ts')).command,
    },
    {
      name: 'remove',
      about: 'Forget a gateway with its tokens and certificates',
      load: async () => (await import('./gateway-remove.ts')).command,
    },
  ],
}
