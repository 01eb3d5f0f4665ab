/** All that the page says. A sentence that a language lacks does not compile. */

/** Why the building did not do it; any other reason is `other`, with the building's own sentence beside it. */
export type Refusal =
  | 'unknown_stay' | 'over' | 'ended' | 'not_in_house' | 'no_room' | 'no_door' | 'room_taken' | 'clock_unsound'
  | 'link_lost' | 'store_failed' | 'not_now' | 'invalid_input' | 'other'

export interface Words {
  tag: string
  name: string
  title: string
  language: string
  signOut: string
  signIn: {
    title: string
    lead: string
    by: string
    byHint: string
    token: string
    tokenHint: string
    show: string
    go: string
    going: string
    missing: string
    wrong: string
    badName: string
    away: string
    ended: string
    idle: string
  }
  line: {
    up: string
    upHint: string
    down: string
    downHint: string
    none: string
    heard: (ago: string) => string
    neverHeard: string
    waiting: (count: string) => string
    nothingWaits: string
    houseAway: string
    houseAwayHint: (ago: string) => string
    reading: string
  }
  list: {
    search: string
    searchHint: string
    asOf: (time: string, ago: string) => string
    never: string
    inHouse: string
    coming: string
    gone: string
    empty: string
    noneFound: string
    choose: string
    unread: (count: string) => string
    noGuest: string
    noRoom: string
    ahead: string
    utc: string
  }
  stay: {
    back: string
    room: string
    state: string
    from: string
    until: string
    booking: string
    id: string
    planned: string
    ready: string
    in_house: string
    left: string
    void: string
    decidedBy: (who: string) => string
    untilBy: (who: string) => string
    ahead: string
    vanished: string
  }
  code: {
    title: string
    lead: string
    comes: string
    early: (time: string) => string
    make: string
    making: string
    shown: string
    how: string
    left: (time: string) => string
    over: string
    anew: string
    anewHint: string
    /** Made, and whoever asked for it had gone on. */
    unseen: string
    used: string
    hide: string
    link: string
    near: string
    unsafe: string
    noCloud: string
    noCodes: string
    noRoom: string
    unreadable: string
  }
  end: {
    title: string
    lead: string
    leadUtc: string
    date: string
    time: string
    longer: string
    shorter: string
    will: (now: string, then: string) => string
    same: string
    bad: string
    past: string
    save: string
    saving: string
    done: (time: string) => string
    keys: string
    shorterKeys: string
  }
  keys: {
    title: string
    reading: string
    none: string
    away: string
    phone: (name: string) => string
    main: string
    since: (time: string) => string
    until: (time: string) => string
    used: (time: string) => string
    neverUsed: string
    withdrawn: string
    over: string
    waiting: (count: string) => string
    take: string
    takeOf: (name: string) => string
    why: string
    whyHint: string
    sure: string
    yes: string
    taking: string
    done: string
  }
  out: {
    title: string
    lead: string
    go: string
    sure: string
    yes: string
    going: string
    done: string
    doorsLater: string
  }
  news: {
    title: string
    close: string
    closeOf: (name: string) => string
  }
  no: string
  unknown: string
  detail: string
  refused: Record<Refusal, string>
}
