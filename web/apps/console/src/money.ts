/** Amounts as the cloud has them (minor units of an ISO 4217 currency) and as people write them. No React. */

/** How many digits a currency has behind its point, by the browser's own table. */
const digitsOf = (currency: string): number =>
  new Intl.NumberFormat('en', { style: 'currency', currency }).resolvedOptions().maximumFractionDigits ?? 2

/** “€45.00”, “¥1,500”. */
export function saidMoney(minor: number, currency: string): string {
  return new Intl.NumberFormat('en-GB', { style: 'currency', currency }).format(minor / 10 ** digitsOf(currency))
}

/** What stands in a field at first: “45.00”. */
export function writtenMoney(minor: number, currency: string): string {
  return (minor / 10 ** digitsOf(currency)).toFixed(digitsOf(currency))
}

/** The minor units of what was typed, with a point or a comma; null: no amount of this currency. */
export function minorOf(text: string, currency: string): number | null {
  const digits = digitsOf(currency)
  const found = /^(\d{1,9})(?:[.,](\d+))?$/u.exec(text.trim())
  const whole = found?.[1]
  const rest = found?.[2] ?? ''
  if (whole === undefined || rest.length > digits) return null
  return Number(whole) * 10 ** digits + Number(rest.padEnd(digits, '0') || '0')
}
