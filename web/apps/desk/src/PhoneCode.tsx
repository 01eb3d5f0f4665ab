/** The code by which a phone takes its key from the house: large, as a picture, with its time running out in sight. */
import { Icon } from '@innkeeper/ui/icons'
import { qrOf, qrPath } from '@innkeeper/ui/qr'
import { useEffect, useId, useMemo, useRef, useState, useSyncExternalStore } from 'react'
import { Problem, useAct, useKeptFocus } from './acts'
import { codeLink, leftOf, reachOf } from './codeLink'
import type { Desk } from './desk'
import type { Code, Stay } from './house'
import { useSpoken, useTick } from './spoken'

export function PhoneCode({ desk, house, stay }: { desk: Desk; house: URL; stay: Stay }) {
  const { words: { code: said }, time } = useSpoken()
  const { isAtWork, came, act, forget } = useAct<Code>()
  const { about, stays } = useSyncExternalStore(desk.subscribe, () => desk.state)
  const houseMs = desk.houseMs()
  const code = came?.kind === 'done' ? came.told : null
  const [used, setUsed] = useState<Code | null>(null)
  useEffect(() => { // anew with each look at the house: a family's second phone is not shown the first one's code
    if (code !== null) void desk.codeWaits(code).then((waits) => { if (waits === false) setUsed(code) })
  }, [desk, code, stays])
  const reach = reachOf(house)
  const cannot = about === null ? null : !about.codes ? said.noCodes : about.cloud === null ? said.noCloud : reach === 'unsafe' ? said.unsafe : stay.room === null ? said.noRoom : null
  const isComing = stay.state !== 'in_house'
  const section = useRef<HTMLElement>(null)
  useKeptFocus(section)
  return (
    <section ref={section} tabIndex={-1} className="card" aria-labelledby="code">
      <h3 id="code">{said.title}</h3>
      <p className="dim">{said.lead} {isComing && said.comes}</p>
      {cannot !== null ? <p className="problem" data-testid="no-code"><Icon name="warning" size={20} /><span>{cannot}</span></p> : (
        <>
          {reach === 'near' && <p className="problem" data-testid="near"><Icon name="warning" size={20} /><span>{said.near}</span></p>}
          {isComing && houseMs !== null && houseMs < stay.fromMs && <p className="note"><Icon name="clock" size={20} /><span>{said.early(time(stay.fromMs))}</span></p>}
          <Problem came={came} />
          {code !== null && about?.cloud != null && <Shown desk={desk} code={code} isUsed={code === used} link={codeLink(about.cloud, house, code)} />}
          <div className="acts">
            <button type="button" className={code === null ? 'act act-first' : 'act'} aria-disabled={isAtWork} onClick={() => void act({ kind: 'code', stay }, () => desk.code(stay.id))}>
              <Icon name="link" size={20} />{isAtWork ? said.making : code === null ? said.make : said.anew}
            </button>
            {code !== null && <button type="button" className="act" onClick={forget}>{said.hide}</button>}
          </div>
          {code !== null && <p className="dim">{said.anewHint}</p>}
        </>
      )}
    </section>
  )
}

function Shown({ desk, code, isUsed, link }: { desk: Desk; code: Code; isUsed: boolean; link: string }) {
  const { words: { code: said } } = useSpoken()
  const id = useId()
  const heading = useRef<HTMLHeadingElement>(null)
  useTick(1_000)
  useEffect(() => heading.current?.focus(), [code])
  const left = leftOf(code.untilMs, desk.houseMs() ?? code.untilMs)
  return (
    <div className="code" data-code={isUsed ? 'used' : left === null ? 'over' : 'shown'}>
      <h4 ref={heading} tabIndex={-1}>{said.shown}</h4>
      {isUsed ? <p role="status" className="note"><Icon name="check" size={20} /><span>{said.used}</span></p> : left === null ? <p role="status" className="problem"><Icon name="clock" size={20} /><span>{said.over}</span></p> : (
        <>
          <p className="dim">{said.how}</p>
          <Picture text={link} label={said.shown} />
          <p className="left" role="timer" aria-live="off">{said.left(left)}</p>
          <details>
            <summary>{said.link}</summary>
            <label className="hidden" htmlFor={id}>{said.link}</label>
            <textarea id={id} className="input link" readOnly rows={4} dir="ltr" value={link} onFocus={(event) => event.currentTarget.select()} />
          </details>
        </>
      )}
    </div>
  )
}

/** Dark on light in every colour scheme: cameras read no other. */
function Picture({ text, label }: { text: string; label: string }) {
  const { words } = useSpoken()
  const code = useMemo(() => drawn(text), [text])
  if (code === null) return <p>{words.code.unreadable}</p>
  const size = code.length + 8
  return (
    <svg className="picture" viewBox={`0 0 ${size} ${size}`} role="img" aria-label={label} data-link={text} shapeRendering="crispEdges">
      <rect width={size} height={size} fill="#fff" />
      <path d={qrPath(code)} fill="#000" />
    </svg>
  )
}

function drawn(text: string): boolean[][] | null {
  try {
    return qrOf(text)
  } catch (error) {
    if (error instanceof RangeError) return null // longer than a picture holds
    throw error
  }
}
