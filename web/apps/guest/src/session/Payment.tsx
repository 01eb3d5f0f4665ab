/** The deposit: the guest pays on the page of the payment provider, or at the desk; what is said here is what the cloud knows. */
import { Icon } from '@innkeeper/ui/icons'
import { useSurroundings } from '../surroundings'
import { isPaying, type Walk, type WalkState } from './walk'
import type { Problem, Session } from './wire'
import { type SessionWords, sessionWords } from './words'

/** Refused by the bank, in whatever words. */
const AT_BANK = /declined|funds|authentication|card|refused/u

export function Payment({ walk, state, session }: { walk: Walk; state: WalkState; session: Session }) {
  const { words, locale } = useSurroundings()
  const said = sessionWords(words.tag)
  const { deposit, payment } = session
  const amount = deposit !== null && <p className="amount">{said.paymentHint(moneyOf(deposit, locale))}</p>
  if (payment?.byPage !== true) return <>{amount}<p>{said.paymentDesk}</p></>
  const isUnderWay = isPaying(session)
  const isChecking = isUnderWay && state.came === 'done'
  const isBusy = state.isBusy || state.isLeaving
  return (
    <>
      {amount}
      <Standing state={state} session={session} />
      {!isChecking && <p>{said.pay.where}</p>}
      {state.problem !== null && (
        <div role="alert" className="wrong-box" data-testid="form-problem"><p>{troubleOf(state.problem, said, words.checkIn)}</p></div>
      )}
      <div className="form-actions">
        <button type="button" className={isChecking ? 'quiet' : 'open open-first'} aria-disabled={isBusy} onClick={() => void walk.pay()}>
          {state.isLeaving ? said.pay.leaving : state.isBusy ? said.sending : isUnderWay ? said.pay.goOn : said.pay.go}
        </button>
      </div>
      <p className="dim">{said.pay.desk}</p>
    </>
  )
}

/** How it stands, for eyes and screen readers alike; silent while nothing has happened yet. */
function Standing({ state, session }: { state: WalkState; session: Session }) {
  const { words } = useSurroundings()
  const { pay } = sessionWords(words.tag)
  const { state: stands, failure } = session.payment ?? { state: null, failure: null }
  const isUnderWay = isPaying(session)
  const [name, line] = isUnderWay
    ? state.came === 'done' ? ['checking', pay.checking] : state.came === 'left' ? ['left', pay.left] : ['under-way', pay.underWay]
    : stands === 'failed' ? ['failed', failure === 'page_expired' || failure === 'page_ended' ? pay.expired : AT_BANK.test(failure ?? '') ? pay.atBank : pay.failed]
      : ['none', '']
  return (
    <div role="status" data-payment={name}>
      {line !== '' && <p className={name === 'failed' ? 'wrong' : 'looking'}><Icon name={name === 'failed' ? 'warning' : 'clock'} size={18} /><span>{line}</span></p>}
    </div>
  )
}

function troubleOf(problem: Problem, said: SessionWords, troubles: Record<string, string>): string {
  if (problem.kind === 'payment') return problem.what === 'away' ? said.pay.away : said.pay.refused
  if (problem.kind === 'line') return troubles[problem.trouble] ?? said.wrong.other
  return problem.kind === 'front_desk' ? said.frontDesk : said.wrong.other
}

function moneyOf({ currency, minor }: { currency: string; minor: number }, locale: string): string {
  const format = new Intl.NumberFormat(locale, { style: 'currency', currency })
  return format.format(minor / 10 ** (format.resolvedOptions().maximumFractionDigits ?? 2))
}
