/** Files that are compiled into the executable as text. */
declare module '*.service' {
  const text: string
  export default text
}
