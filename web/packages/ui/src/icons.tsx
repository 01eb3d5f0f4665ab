/** The few pictures that the pages need, drawn on one 24-unit grid. They always stand beside a word. */
import type { ReactNode } from 'react'

const DRAWINGS = {
  lock: <path d="M7 11V8a5 5 0 0 1 10 0v3M6 11h12a1 1 0 0 1 1 1v7a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1v-7a1 1 0 0 1 1-1Z" />,
  unlock: <path d="M7 11V8a5 5 0 0 1 9.6-2M6 11h12a1 1 0 0 1 1 1v7a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1v-7a1 1 0 0 1 1-1Z" />,
  question: <path d="M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM9.6 9.5a2.5 2.5 0 1 1 3.6 2.3c-.8.4-1.2 1-1.2 1.9M12 16.6v.2" />,
  bulb: <path d="M9.5 18h5M10.3 21h3.4M9 15c-1.800-1.200-3-3-3-5.200a6 6 0 0 1 12 0C18 12 16.800 13.800 15 15Z" />,
  person: <path d="M12 11.500a3.750 3.750 0 1 0 0-7.500 3.750 3.750 0 0 0 0 7.500ZM5 20c.6-3.400 3.500-5.500 7-5.500s6.400 2.100 7 5.500" />,
  door: <path d="M5 21h14M7 21V4.500A.5.5 0 0 1 7.500 4h9a.5.5 0 0 1 .5.5V21M13.800 12.600v.2" />,
  doorOpen: <path d="M4 21h16M7 21V5l7-2v18M14 5h2.500a.5.5 0 0 1 .5.5V21M11.200 12.200v.2" />,
  thermometer: <path d="M10 13.600V5.500a2 2 0 1 1 4 0v8.100a4 4 0 1 1-4 0ZM12 9v8" />,
  battery: <path d="M4 8.500h13a1 1 0 0 1 1 1v5a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1v-5a1 1 0 0 1 1-1ZM21 11v2" />,
  check: <path d="m5 12.500 4.500 4.500L19 7.500" />,
  cross: <path d="M6.500 6.500l11 11M17.500 6.500l-11 11" />,
  warning: <path d="M12 4.200 2.900 19.500a.6.6 0 0 0 .5.900h17.200a.6.6 0 0 0 .5-.900L12 4.200ZM12 10v4.500M12 17.300v.2" />,
  clock: <path d="M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM12 7.500V12l3 2" />,
  swap: <path d="M5 9h13l-3.500-3.500M19 15H6l3.500 3.500" />,
  link: <path d="M10 14a4 4 0 0 0 5.700 0l3-3A4 4 0 0 0 13 5.300l-.900.900M14 10a4 4 0 0 0-5.700 0l-3 3A4 4 0 0 0 11 18.700l.9-.9" />,
  linkOff: <path d="M10.500 14.500a4 4 0 0 0 4.700-.5l3.500-3.500A4 4 0 0 0 13 4.800l-.9.9M13.500 9.500a4 4 0 0 0-4.700.5l-3.500 3.500a4 4 0 0 0 5.700 5.700l.9-.9M4 4l16 16" />,
  pulse: <path d="M3 12h4l2.500-6.500 4.500 13L16.500 12H21" />,
  sun: <path d="M12 16.500a4.500 4.500 0 1 0 0-9 4.500 4.500 0 0 0 0 9ZM12 2.500v2M12 19.500v2M2.500 12h2M19.500 12h2M5.300 5.300l1.400 1.400M17.300 17.300l1.400 1.400M5.300 18.700l1.400-1.400M17.300 6.700l1.400-1.400" />,
  moon: <path d="M20 14.500A8.300 8.300 0 0 1 9.500 4 8.300 8.300 0 1 0 20 14.500Z" />,
  screen: <path d="M4 5h16a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1ZM9 20h6M12 16v4" />,
  arrow: <path d="M5 12h13.500M13 6.500l5.500 5.500-5.500 5.500" />,
  back: <path d="M19 12H5.500M11 6.500 5.500 12l5.500 5.500" />,
  search: <path d="M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14ZM16.200 16.200 20.500 20.500" />,
  bed: <path d="M3 18.500V6M3 15.500h18v3M21 15.500v-2a3 3 0 0 0-3-3h-7.500v5M6.700 12.500a1.700 1.700 0 1 0 0-3.400 1.700 1.700 0 0 0 0 3.400Z" />,
} satisfies Record<string, ReactNode>

export type IconName = keyof typeof DRAWINGS

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth="1.75"
      strokeLinecap="round" strokeLinejoin="round" aria-hidden="true" focusable="false">
      {DRAWINGS[name]}
    </svg>
  )
}

/** A battery that shows how full it is; the figure stands beside it. */
export function BatteryIcon({ percent, size = 18 }: { percent: number; size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth="1.5" aria-hidden="true" focusable="false">
      <rect x="2.500" y="7.500" width="17" height="9" rx="2" />
      <path d="M22 10.500v3" strokeLinecap="round" />
      <rect x="4.500" y="9.500" width={Math.max(1, (13 * Math.min(100, percent)) / 100)} height="5" rx="0.800" fill="currentColor" stroke="none" />
    </svg>
  )
}
