export * from './opening'
export * from './port'
export { type RequestOptions, type WebBluetooth, webBluetooth, type WebDevice, WebRadio } from './webBluetooth'
