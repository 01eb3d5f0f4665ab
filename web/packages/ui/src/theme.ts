import { createTheme, type MantineColorsTuple } from '@mantine/core'

const pine: MantineColorsTuple = [
  '#e9f4f2', '#d3e7e4', '#a6d0c9', '#76b7ad', '#4fa296', '#359588', '#238a7d', '#12786c', '#0b5d57', '#064842',
]

export const theme = createTheme({
  fontFamily: "'Inter Variable', system-ui, sans-serif",
  fontFamilyMonospace: "ui-monospace, 'SF Mono', 'Cascadia Mono', 'DejaVu Sans Mono', monospace",
  primaryColor: 'pine',
  primaryShade: { light: 8, dark: 4 },
  autoContrast: true,
  colors: { pine },
  defaultRadius: 'md',
  respectReducedMotion: true,
  cursorType: 'pointer',
})
