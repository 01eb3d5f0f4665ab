import { describe, expect, it } from 'vitest'
import { qrOf, qrPath } from '@innkeeper/ui/qr'

/** Text, version, mask, and the SHA-256 of the rows as another encoder (python-qrcode) draws them, correction M, bytes. */
const KNOWN = [
  ['A', 1, 0, '2bae48594b7325872d655a95d8814f09f3825eba52faa8c8b4e3c6dd453105e5'],
  ['https://cloud.example/guest/#check-in=aurora/s-0123456789abcdef/ikg_Ab1-Ab1-Ab1-Ab1-Ab1-Ab1-Ab1-Ab1-Ab1-Ab1-xyz', 7, 2, 'edc521f8222a35fad164ec9cf5edb28118ba0d208f30b92cc74f17d50cc2adc9'],
  ['Ü'.repeat(20), 3, 7, '44b718abc5ee2d36e0ee676eb10b6b1e7c8b63a79a769a093847a18063cafaa9'],
  ['x'.repeat(14), 1, 6, '400be42d20a6884a9565cd231f58904724ab12d3d56a1830bbff519ea37e1975'],
  ['x'.repeat(26), 2, 0, '6b3c728f6da5c7377b04cb658bb6886dfd429af638146625b3ff14c24c6b80bf'],
  ['x'.repeat(42), 3, 3, '42f90fb873889c4e0bf75cc7ce9a8a1498ec40f78ebc32c125d9a028856d6a83'],
  ['x'.repeat(62), 4, 0, '9040f52bb1e8a29864239cab4d100956b91f7072a4a936eac1c4512567671e4f'],
  ['x'.repeat(84), 5, 3, 'dc1afb3451959d9fc67caf0442f953a5cc8a350581ab1d855d853860a6f5a150'],
  ['x'.repeat(106), 6, 3, '536f804ac066bd508901c3133f627c8fe275f79e23bcdf61ae9e1f3fa94dfb8c'],
  ['x'.repeat(122), 7, 0, '91c925bdfb77e72b0588d633a6da626a8e78d53a86b2fc001044e012bc75568f'],
  ['x'.repeat(152), 8, 2, '05776ce767bdb1a4a404252de39d3032d7d7ce80b71848a6277de518cd31cff3'],
  ['x'.repeat(180), 9, 0, '21e02ceea8d235cf29ba53f809c61e9bca5b25910dfa51ccb01292bb14777f09'],
  ['x'.repeat(213), 10, 0, 'f8a692e420006d88c10e55f6fb2f048c68ad07db0d7c3f134adf4ff3fc04aae2'],
  ['x'.repeat(251), 11, 0, '02c6d07909d402b419521319394dac726a4aee74d717406880c12b5ae55b4673'],
  ['x'.repeat(287), 12, 0, '8c89cf96ef607e5824a779eef264abf95f8c36a9f665bd8a5a92c8fd3ea16ae0'],
  ['x'.repeat(331), 13, 0, '4e71bbf98fe1cf367a6ff9d9103c7cb09149563759f48fa9bf5e39dfb375404e'],
  ['x'.repeat(362), 14, 0, '521700893d7601b56b2383a56b38fe8818fd8742db63e235e35cbe83cb994c22'],
  ['x'.repeat(412), 15, 0, '1545cdf36ca5be9fd786b19267b7869aed52c0f3228988fca91110946d6d5c88'],
] as const

const digest = async (code: readonly (readonly boolean[])[]): Promise<string> => {
  const rows = code.map((row) => row.map((isDark) => (isDark ? '1' : '0')).join('')).join('\n')
  const bytes = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(rows)))
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

describe('a code', () => {
  it.each(KNOWN)('of %s is what another encoder draws', async (text, version, mask, known) => {
    expect(qrOf(text, mask).length).toBe(17 + 4 * version)
    expect(await digest(qrOf(text, mask))).toBe(known)
    const free = await digest(qrOf(text))
    expect(await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map((each) => digest(qrOf(text, each))))).toContain(free)
  })

  it('has a bound', () => {
    expect(() => qrOf('x'.repeat(413))).toThrow(RangeError)
  })

  it('is drawn with its quiet zone', () => {
    expect(qrPath([[true, false], [false, true]])).toBe('M4 4h1v1h-1zM5 5h1v1h-1z')
  })
})
