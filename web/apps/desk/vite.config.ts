import { fileURLToPath } from 'node:url'
import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

// Static files for the edge to serve under /desk/: relative addresses, hashed names, nothing inlined (edge/api/desk_routes.py).
export default defineConfig({
  base: './',
  plugins: [react()],
  build: {
    outDir: fileURLToPath(new URL('../../../edge/web/dist', import.meta.url)),
    emptyOutDir: true,
    assetsInlineLimit: 0,
    target: 'es2023',
    modulePreload: { polyfill: false },
  },
  server: {
    // `npm run dev` beside an edge at its usual port
    proxy: { '/api': { target: 'http://127.0.0.1:8470' } },
  },
})
