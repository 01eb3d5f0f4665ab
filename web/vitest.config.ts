import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['{packages,apps}/*/tests/**/*.test.{ts,tsx}'],
    restoreMocks: true,
    testTimeout: 30_000, // patience for a machine that has much to do; nothing here waits for time to pass
    sequence: { shuffle: true },
  },
})
