import { describe, expect, it } from 'vitest'
import { minorOf, saidMoney, writtenMoney } from '../src/money'

describe('amounts', () => {
  it.each([
    ['45', 'EUR', 4_500], ['45.5', 'EUR', 4_550], ['45,50', 'EUR', 4_550], [' 0.01 ', 'EUR', 1], ['1500', 'JPY', 1_500], ['1.250', 'KWD', 1_250],
    ['45.505', 'EUR', null], ['1.5', 'JPY', null], ['-1', 'EUR', null], ['', 'EUR', null], ['1,000.00', 'EUR', null], ['1e3', 'EUR', null], ['45 EUR', 'EUR', null],
  ])('%s %s is %s minor units', (text, currency, minor) => {
    expect(minorOf(text, currency)).toBe(minor)
  })

  it('are written as they are read', () => {
    for (const [minor, currency] of [[15_000, 'EUR'], [1, 'CHF'], [1_500, 'JPY'], [1_250, 'KWD']] as const) {
      expect(minorOf(writtenMoney(minor, currency), currency)).toBe(minor)
    }
    expect(saidMoney(15_000, 'EUR')).toBe('€150.00')
    expect(saidMoney(1_500, 'JPY')).toMatch(/1,500$/u)
  })
})
