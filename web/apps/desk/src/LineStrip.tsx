/** How old what is shown is, and what the cloud has not been told yet. */
import { Icon } from '@innkeeper/ui/icons'
import type { Link } from './house'
import { useSpoken } from './spoken'

export function LineStrip({ link, isAway, ageMs }: { link: Link | null; isAway: boolean; ageMs: number | null }) {
  const { words: { line: said }, ago, count } = useSpoken()
  const stands = isAway ? 'away' : link === null ? 'reading' : !link.isConfigured ? 'none' : link.isConnected ? 'up' : 'down'
  const waiting = link === null || !link.isConfigured || link.waiting === null ? null : link.waiting > 0 ? said.waiting(count(link.waiting)) : said.nothingWaits
  return (
    <div className={`strip strip-${stands}`} data-line={stands}>
      <Icon name={stands === 'up' ? 'link' : stands === 'reading' ? 'clock' : stands === 'none' ? 'check' : 'linkOff'} size={24} />
      <div>
        <p className="strip-title" role="status">{{ away: said.houseAway, reading: said.reading, none: said.none, up: said.up, down: said.down }[stands]}</p>
        {stands === 'away' && ageMs !== null && <p>{said.houseAwayHint(ago(ageMs))}</p>}
        {stands === 'up' && <p>{said.upHint}</p>}
        {stands === 'down' && link !== null && <p>{said.downHint} {link.heardAgeMs === null ? said.neverHeard : said.heard(ago(link.heardAgeMs))}</p>}
        {waiting !== null && <p data-testid="waiting">{waiting}</p>}
      </div>
    </div>
  )
}
