export { CARRIED_IN_VISIT_MOST, CHUNKS_IN_VISIT_MOST, type Errand, type Errands, type SignedObject } from './errands'
export * from './opening'
export * from './port'
export { type RequestOptions, type WebBluetooth, webBluetooth, type WebDevice, WebRadio } from './webBluetooth'
