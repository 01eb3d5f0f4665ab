// The server half of RFC 6455 that the mock needs: handshake, unfragmented text out, close and ping in. No dependency.
import { createHash } from 'node:crypto'

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
const TEXT = 0x1, CLOSE = 0x8, PING = 0x9, PONG = 0xa
const FRAME_BYTES_MOST = 4_096 // the page never speaks; anything longer is not ours

function frame(opcode, payload) {
  const n = payload.length
  const head = n < 126 ? Buffer.from([0x80 | opcode, n]) : n < 65_536 ? Buffer.alloc(4) : Buffer.alloc(10)
  if (n >= 126) {
    head[0] = 0x80 | opcode
    head[1] = n < 65_536 ? 126 : 127
    if (n < 65_536) head.writeUInt16BE(n, 2)
    else head.writeBigUInt64BE(BigInt(n), 2)
  }
  return Buffer.concat([head, payload])
}

/** Take over `socket` after the HTTP upgrade request `request`; `onGone` runs once. */
export function accept(request, socket, onGone) {
  const key = request.headers['sec-websocket-key'] ?? ''
  const answer = createHash('sha1').update(key + GUID).digest('base64')
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${answer}\r\n\r\n`)
  socket.setNoDelay(true)
  let inbox = Buffer.alloc(0)
  socket.on('data', (chunk) => {
    inbox = Buffer.concat([inbox, chunk])
    while (inbox.length >= 6) {
      const opcode = inbox[0] & 0x0f
      const n = inbox[1] & 0x7f
      if (n > 125 || inbox.length > FRAME_BYTES_MOST) return socket.destroy()
      if (inbox.length < 6 + n) return
      const mask = inbox.subarray(2, 6)
      const payload = Buffer.from(inbox.subarray(6, 6 + n).map((byte, i) => byte ^ mask[i % 4]))
      inbox = inbox.subarray(6 + n)
      if (opcode === PING) socket.write(frame(PONG, payload))
      if (opcode === CLOSE) socket.end(frame(CLOSE, payload))
    }
  })
  socket.on('error', () => socket.destroy())
  socket.on('close', onGone)
  return {
    send: (text) => { if (socket.writable) socket.write(frame(TEXT, Buffer.from(text))) },
    drop: () => socket.destroy(),
  }
}
