const ADJECTIVES =
  'able agile amber ample apt azure bold brave brief bright brisk calm candid chief clean clear clever cool cosy crisp daring deft eager early easy equal exact fair fancy fast fine firm fleet fluent fond frank free fresh gentle glad golden good grand green handy happy hardy honest humble ideal jolly keen kind large light lively loyal lucid lucky mellow merry mighty mild modest neat nimble noble open patient placid plain polite prime proud pure quick quiet rapid ready regal rich robust rosy round royal safe sharp shiny silent simple sleek smart smooth snug social solid spry stable steady still sturdy subtle sunny super swift tidy tough true upbeat urban valid vital vivid warm wise witty worthy young zesty'.split(
    ' ',
  )

const NOUNS =
  'acorn alder anchor anvil apple aspen atlas badger bamboo barley basil beacon beaver birch bison bridge brook canyon cedar cliff clover comet compass condor coral cove crane creek cricket daisy dolphin dune eagle elm ember falcon fern finch fjord forest fox galaxy garden garnet gecko geyser glacier grove harbor hare hawk hazel heron hill iris island ivy jaguar juniper kestrel lagoon lantern lark laurel lemon lily lion lotus lynx maple marten meadow meteor mole moose moss nebula oak oasis ocean olive orchid osprey otter owl panda pebble pelican pepper pine planet plover pond poplar prairie quail quartz rabbit raven reef ridge river robin rocket rose sail salmon seal shell sparrow spruce squid star stone stork summit swan temple thistle tiger topaz trout tulip tundra turtle valley violet walnut walrus whale willow wolf wren yarrow zebra'.split(
    ' ',
  )

const LETTERS = 'abcdefghijklmnopqrstuvwxyz'

/** A number from 0 to below `below`, every one as likely. */
export type Pick = (below: number) => number

/** A friendly name of two lower-case words, such as `brisk-otter` (spec/sandbox.md §2, step 7). */
export const twoWordName = (pick: Pick): string => `${ADJECTIVES[pick(ADJECTIVES.length)]}-${NOUNS[pick(NOUNS.length)]}`

/** Letters a to z, for names that need not be friendly and to make a friendly one unique (W2). */
export const randomLetters = (count: number, pick: Pick): string =>
  Array.from({ length: count }, () => LETTERS[pick(LETTERS.length)]).join('')
