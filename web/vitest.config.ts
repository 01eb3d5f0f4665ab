import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['{packages,apps}/*/tests/**/*.test.{ts,tsx}'],
    restoreMocks: true,
    sequence: { shuffle: true },
  },
})
