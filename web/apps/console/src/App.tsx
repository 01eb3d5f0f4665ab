import { Client } from '@innkeeper/api'
import { useEffect, useMemo } from 'react'
import { AccountPage } from './Account'
import { ArrivalsPage } from './Arrivals'
import { KeysPage } from './Keys'
import { KiosksPage } from './Kiosks'
import { ColdPage, FailurePage } from './Notices'
import { PaymentsPage } from './Payments'
import { PropertiesPage } from './PropertiesPage'
import { PropertyPage } from './PropertyPage'
import { replaceRoute, useAccountShown, useArrivalsShown, useKeysShown, useKiosksShown, usePaymentsShown, useRoute, useStayLogShown, useTermsShown } from './route'
import { StayLogPage } from './StayLog'
import { TermsPage } from './Terms'
import { useProperties } from './useProperties'

export function App() {
  return useAccountShown() ? <AccountPage /> : <Hotels />
}

function Hotels() {
  const client = useMemo(() => new Client(), [])
  const route = useRoute()
  const isAtArrivals = useArrivalsShown()
  const isAtKeys = useKeysShown()
  const isAtTerms = useTermsShown()
  const loggedStay = useStayLogShown()
  const paidStay = usePaymentsShown()
  const isAtKiosks = useKiosksShown()
  const properties = useProperties(client, route.property === null)
  const { list, failure } = properties
  const only = list?.length === 1 ? list[0] : undefined

  useEffect(() => {
    if (route.property === null && only !== undefined) replaceRoute({ property: only.id, room: null })
  }, [route.property, only])

  if (list === null) {
    return failure === null ? <ColdPage /> : <FailurePage failure={failure} again={properties.again} />
  }
  if (route.property === null) {
    return only === undefined ? <PropertiesPage properties={properties} /> : <ColdPage />
  }
  const property = list.find((each) => each.id === route.property)
  if (property === undefined) {
    return <FailurePage failure={{ kind: 'not_found', message: `There is no property “${route.property}” for you here.` }} again={properties.again} />
  }
  if (loggedStay !== null) return <StayLogPage key={`${property.id}/${loggedStay}`} property={property} stay={loggedStay} />
  if (paidStay !== null) return <PaymentsPage key={`${property.id}/${paidStay}`} property={property} stay={paidStay} />
  if (isAtKiosks) return <KiosksPage key={property.id} property={property} />
  if (isAtTerms) return <TermsPage key={property.id} property={property} />
  if (isAtKeys) return <KeysPage key={property.id} property={property} />
  if (isAtArrivals) return <ArrivalsPage key={property.id} property={property} />
  return <PropertyPage key={property.id} client={client} property={property} room={route.room} alone={list.length === 1} />
}
