import { fileURLToPath } from 'node:url'
import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

// Static files for the cloud to serve: relative addresses, hashed names, nothing inlined (the page's CSP has no data: for fonts).
export default defineConfig({
  base: './',
  plugins: [react()],
  build: {
    outDir: fileURLToPath(new URL('../../../cloud/web/dist', import.meta.url)),
    emptyOutDir: true,
    assetsInlineLimit: 0,
    target: 'es2023',
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700,
  },
  server: {
    // `npm run dev` beside `npm run mock -- --port 8787`
    proxy: {
      '/api': { target: 'http://127.0.0.1:8787', ws: true },
      '/mock': { target: 'http://127.0.0.1:8787' },
    },
  },
})
