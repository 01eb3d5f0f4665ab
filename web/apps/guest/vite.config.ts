import { createHash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import react from '@vitejs/plugin-react'
import { defineConfig, type Plugin } from 'vite'

const SCRIPTS_NOT_LATIN = /inter-(?:cyrillic|greek|vietnamese)/u

/** Writes the list of the page's files, and a version made of their contents, in front of the service worker. */
function pageList(): Plugin {
  return {
    name: 'innkeeper-page-list',
    enforce: 'post',
    generateBundle(_, bundle) {
      const worker = bundle['offline.js']
      if (worker?.type !== 'chunk') throw new Error('no service worker in the build')
      const parts = Object.values(bundle).filter((file) => file !== worker && !SCRIPTS_NOT_LATIN.test(file.fileName))
      const digest = createHash('sha256')
      for (const part of parts) digest.update(part.fileName).update(part.type === 'chunk' ? part.code : part.source)
      const files = [...new Set(['index.html', 'kiosk.html', 'house.html', 'manifest.webmanifest', 'icon.svg', ...parts.map(({ fileName }) => fileName)])].sort()
      const list = { version: digest.update(worker.code).digest('hex').slice(0, 16), files }
      worker.code = `self.__PAGE=${JSON.stringify(list)};\n${worker.code}`
    },
  }
}

// Static files for the cloud to serve under /guest/: relative addresses, hashed names, nothing inlined.
export default defineConfig({
  base: './',
  plugins: [react(), pageList()],
  build: {
    outDir: fileURLToPath(new URL('../../../cloud/web/dist/guest', import.meta.url)),
    emptyOutDir: true,
    assetsInlineLimit: 0,
    target: 'es2022',
    modulePreload: { polyfill: false },
    rollupOptions: {
      input: { index: fileURLToPath(new URL('index.html', import.meta.url)), kiosk: fileURLToPath(new URL('kiosk.html', import.meta.url)), house: fileURLToPath(new URL('house.html', import.meta.url)), offline: fileURLToPath(new URL('src/offline.ts', import.meta.url)) },
      output: { entryFileNames: (chunk) => (chunk.name === 'offline' ? 'offline.js' : 'assets/[name]-[hash].js') },
    },
  },
})
