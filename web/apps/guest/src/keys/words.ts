/** The words of the list of keys, in each of the page's languages. A sentence that a language lacks does not compile. */
import type { KeyTrouble } from './stayKeys'

export interface KeyWords {
  title: string
  look: string
  looking: string
  /** How many phones have a key. */
  count: (phones: number) => string
  onlyOwn: string
  thisPhone: string
  mainPhone: string
  anotherPhone: (number: number) => string
  since: (when: string) => string
  used: (when: string, door: string) => string
  usedUncertain: (when: string, door: string) => string
  notUsed: string
  takeBack: string
  sure: (who: string) => string
  yes: string
  keep: string
  takenBack: string
  everyDoorKnows: string
  waiting: (doors: number) => string
  lastHeard: (door: string, when: string) => string
  neverHeard: (door: string) => string
  ended: string
  elsewhere: (system: string) => string
  elsewhereEnding: (system: string) => string
  troubles: Readonly<Record<KeyTrouble, string>>
}

const en: KeyWords = {
  title: 'Keys of your stay',
  look: 'See who has a key',
  looking: 'Asking the hotel…',
  count: (phones) => (phones === 1 ? 'One phone has a key.' : `${phones} phones have a key.`),
  onlyOwn: 'Only the main guest sees every key. This is yours.',
  thisPhone: 'This phone',
  mainPhone: 'The main guest’s phone',
  anotherPhone: (number) => `Phone ${number}`,
  since: (when) => `Has a key since ${when}`,
  used: (when, door) => `Opened last: ${door}, ${when}`,
  usedUncertain: (when, door) => `Opened last: ${door}, perhaps ${when}. That lock did not know the time well`,
  notUsed: 'No opening that the hotel has heard of',
  takeBack: 'Take the key back',
  sure: (who) => `${who} opens nothing more of this stay, and gets no key of it again.`,
  yes: 'Take it back',
  keep: 'Leave it',
  takenBack: 'Taken back',
  everyDoorKnows: 'Every door knows.',
  waiting: (doors) => (doors === 1 ? 'One door has not confirmed it yet: this key may still open it.' : `${doors} doors have not confirmed it yet: this key may still open them.`),
  lastHeard: (door, when) => `${door}: last heard from ${when}`,
  neverHeard: (door) => `${door}: not heard from yet`,
  ended: 'Has ended by itself',
  elsewhere: (system) => `Also a key in ${system}`,
  elsewhereEnding: (system) => `${system}: its key is being ended`,
  troubles: {
    offline: 'There is no line to the hotel just now.',
    unanswered: 'The hotel has not answered. Look again: it may have been done.',
    edge_away: 'The hotel cannot be reached just now.',
    signed_out: 'This link is no longer good. Ask the front desk.',
    not_main: 'Only the main guest takes keys back. Ask the front desk.',
    own_key: 'This is your own key. It ends with your stay, or at the front desk.',
    edge_refused: 'The hotel could not take it back. Ask the front desk.',
    strange: 'The hotel’s answer could not be read. Ask the front desk.',
  },
}

const de: KeyWords = {
  title: 'Schlüssel Ihres Aufenthalts',
  look: 'Zeigen, wer einen Schlüssel hat',
  looking: 'Das Hotel wird gefragt…',
  count: (phones) => (phones === 1 ? 'Ein Telefon hat einen Schlüssel.' : `${phones} Telefone haben einen Schlüssel.`),
  onlyOwn: 'Nur der Hauptgast sieht alle Schlüssel. Dies ist Ihrer.',
  thisPhone: 'Dieses Telefon',
  mainPhone: 'Telefon des Hauptgasts',
  anotherPhone: (number) => `Telefon ${number}`,
  since: (when) => `Hat einen Schlüssel seit ${when}`,
  used: (when, door) => `Zuletzt geöffnet: ${door}, ${when}`,
  usedUncertain: (when, door) => `Zuletzt geöffnet: ${door}, vielleicht ${when}. Das Schloss kannte die Zeit nicht genau`,
  notUsed: 'Keine Öffnung, von der das Hotel gehört hat',
  takeBack: 'Schlüssel zurücknehmen',
  sure: (who) => `${who} öffnet nichts mehr von diesem Aufenthalt und bekommt keinen Schlüssel mehr dafür.`,
  yes: 'Zurücknehmen',
  keep: 'Lassen',
  takenBack: 'Zurückgenommen',
  everyDoorKnows: 'Jede Tür weiß es.',
  waiting: (doors) => (doors === 1 ? 'Eine Tür hat es noch nicht bestätigt: Dieser Schlüssel öffnet sie vielleicht noch.' : `${doors} Türen haben es noch nicht bestätigt: Dieser Schlüssel öffnet sie vielleicht noch.`),
  lastHeard: (door, when) => `${door}: zuletzt gehört ${when}`,
  neverHeard: (door) => `${door}: noch nie gehört`,
  ended: 'Von selbst abgelaufen',
  elsewhere: (system) => `Auch ein Schlüssel in ${system}`,
  elsewhereEnding: (system) => `${system}: der Schlüssel wird beendet`,
  troubles: {
    offline: 'Es gibt gerade keine Verbindung zum Hotel.',
    unanswered: 'Das Hotel hat nicht geantwortet. Sehen Sie noch einmal nach: Es ist vielleicht geschehen.',
    edge_away: 'Das Hotel ist gerade nicht erreichbar.',
    signed_out: 'Dieser Link gilt nicht mehr. Fragen Sie an der Rezeption.',
    not_main: 'Nur der Hauptgast nimmt Schlüssel zurück. Fragen Sie an der Rezeption.',
    own_key: 'Das ist Ihr eigener Schlüssel. Er endet mit dem Aufenthalt oder an der Rezeption.',
    edge_refused: 'Das Hotel konnte ihn nicht zurücknehmen. Fragen Sie an der Rezeption.',
    strange: 'Die Antwort des Hotels war nicht zu lesen. Fragen Sie an der Rezeption.',
  },
}

const fr: KeyWords = {
  title: 'Clés de votre séjour',
  look: 'Voir qui a une clé',
  looking: 'Question à l’hôtel…',
  count: (phones) => (phones === 1 ? 'Un téléphone a une clé.' : `${phones} téléphones ont une clé.`),
  onlyOwn: 'Seul l’hôte principal voit toutes les clés. Voici la vôtre.',
  thisPhone: 'Ce téléphone',
  mainPhone: 'Téléphone de l’hôte principal',
  anotherPhone: (number) => `Téléphone ${number}`,
  since: (when) => `A une clé depuis ${when}`,
  used: (when, door) => `Dernière ouverture : ${door}, ${when}`,
  usedUncertain: (when, door) => `Dernière ouverture : ${door}, peut-être ${when}. Cette serrure connaissait mal l’heure`,
  notUsed: 'Aucune ouverture connue de l’hôtel',
  takeBack: 'Reprendre la clé',
  sure: (who) => `${who} n’ouvre plus rien de ce séjour et n’en reçoit plus de clé.`,
  yes: 'Reprendre',
  keep: 'Laisser',
  takenBack: 'Reprise',
  everyDoorKnows: 'Chaque porte le sait.',
  waiting: (doors) => (doors === 1 ? 'Une porte ne l’a pas encore confirmé : cette clé l’ouvre peut-être encore.' : `${doors} portes ne l’ont pas encore confirmé : cette clé les ouvre peut-être encore.`),
  lastHeard: (door, when) => `${door} : dernier signe ${when}`,
  neverHeard: (door) => `${door} : aucun signe jusqu’ici`,
  ended: 'Expirée d’elle-même',
  elsewhere: (system) => `Aussi une clé dans ${system}`,
  elsewhereEnding: (system) => `${system} : sa clé est en cours de retrait`,
  troubles: {
    offline: 'Pas de connexion avec l’hôtel pour le moment.',
    unanswered: 'L’hôtel n’a pas répondu. Regardez encore : c’est peut-être fait.',
    edge_away: 'L’hôtel est injoignable pour le moment.',
    signed_out: 'Ce lien n’est plus valable. Adressez-vous à la réception.',
    not_main: 'Seul l’hôte principal reprend des clés. Adressez-vous à la réception.',
    own_key: 'C’est votre propre clé. Elle finit avec le séjour, ou à la réception.',
    edge_refused: 'L’hôtel n’a pas pu la reprendre. Adressez-vous à la réception.',
    strange: 'La réponse de l’hôtel est illisible. Adressez-vous à la réception.',
  },
}

const es: KeyWords = {
  title: 'Llaves de su estancia',
  look: 'Ver quién tiene una llave',
  looking: 'Preguntando al hotel…',
  count: (phones) => (phones === 1 ? 'Un teléfono tiene llave.' : `${phones} teléfonos tienen llave.`),
  onlyOwn: 'Solo el huésped principal ve todas las llaves. Esta es la suya.',
  thisPhone: 'Este teléfono',
  mainPhone: 'Teléfono del huésped principal',
  anotherPhone: (number) => `Teléfono ${number}`,
  since: (when) => `Tiene llave desde ${when}`,
  used: (when, door) => `Última apertura: ${door}, ${when}`,
  usedUncertain: (when, door) => `Última apertura: ${door}, quizá ${when}. Esa cerradura no sabía bien la hora`,
  notUsed: 'Ninguna apertura de la que el hotel sepa',
  takeBack: 'Retirar la llave',
  sure: (who) => `${who} no abrirá nada más de esta estancia ni recibirá otra llave de ella.`,
  yes: 'Retirar',
  keep: 'Dejar',
  takenBack: 'Retirada',
  everyDoorKnows: 'Todas las puertas lo saben.',
  waiting: (doors) => (doors === 1 ? 'Una puerta aún no lo ha confirmado: esta llave quizá todavía la abra.' : `${doors} puertas aún no lo han confirmado: esta llave quizá todavía las abra.`),
  lastHeard: (door, when) => `${door}: última señal ${when}`,
  neverHeard: (door) => `${door}: sin señal todavía`,
  ended: 'Terminó por sí sola',
  elsewhere: (system) => `También una llave en ${system}`,
  elsewhereEnding: (system) => `${system}: su llave se está retirando`,
  troubles: {
    offline: 'Ahora mismo no hay conexión con el hotel.',
    unanswered: 'El hotel no ha respondido. Mire otra vez: quizá ya esté hecho.',
    edge_away: 'Ahora mismo no se puede contactar con el hotel.',
    signed_out: 'Este enlace ya no vale. Pregunte en recepción.',
    not_main: 'Solo el huésped principal retira llaves. Pregunte en recepción.',
    own_key: 'Es su propia llave. Termina con la estancia, o en recepción.',
    edge_refused: 'El hotel no pudo retirarla. Pregunte en recepción.',
    strange: 'No se pudo leer la respuesta del hotel. Pregunte en recepción.',
  },
}

const ar: KeyWords = {
  title: 'مفاتيح إقامتك',
  look: 'عرض من لديه مفتاح',
  looking: 'جارٍ سؤال الفندق…',
  count: (phones) => (phones === 1 ? 'هاتف واحد لديه مفتاح.' : `عدد الهواتف التي لديها مفتاح: ${phones}.`),
  onlyOwn: 'الضيف الرئيسي وحده يرى كل المفاتيح. هذا مفتاحك.',
  thisPhone: 'هذا الهاتف',
  mainPhone: 'هاتف الضيف الرئيسي',
  anotherPhone: (number) => `الهاتف ${number}`,
  since: (when) => `لديه مفتاح منذ ${when}`,
  used: (when, door) => `آخر فتح: ${door}، ${when}`,
  usedUncertain: (when, door) => `آخر فتح: ${door}، ربما ${when}. لم يكن ذلك القفل يعرف الوقت جيدًا`,
  notUsed: 'لا فتح يعلم به الفندق',
  takeBack: 'استرداد المفتاح',
  sure: (who) => `${who}: لن يفتح شيئًا من هذه الإقامة ولن يحصل على مفتاح لها مرة أخرى.`,
  yes: 'استرداد',
  keep: 'إبقاء',
  takenBack: 'تم استرداده',
  everyDoorKnows: 'كل الأبواب تعلم بذلك.',
  waiting: (doors) => (doors === 1 ? 'باب واحد لم يؤكد ذلك بعد: قد يفتحه هذا المفتاح حتى الآن.' : `عدد الأبواب التي لم تؤكد ذلك بعد: ${doors}. قد يفتحها هذا المفتاح حتى الآن.`),
  lastHeard: (door, when) => `${door}: آخر اتصال ${when}`,
  neverHeard: (door) => `${door}: لا اتصال حتى الآن`,
  ended: 'انتهى من تلقاء نفسه',
  elsewhere: (system) => `وله مفتاح أيضًا في ${system}`,
  elsewhereEnding: (system) => `${system}: جارٍ إنهاء مفتاحه`,
  troubles: {
    offline: 'لا اتصال بالفندق الآن.',
    unanswered: 'لم يجب الفندق. انظر مرة أخرى: ربما تم الأمر.',
    edge_away: 'لا يمكن الوصول إلى الفندق الآن.',
    signed_out: 'لم يعد هذا الرابط صالحًا. اسأل مكتب الاستقبال.',
    not_main: 'الضيف الرئيسي وحده يسترد المفاتيح. اسأل مكتب الاستقبال.',
    own_key: 'هذا مفتاحك أنت. ينتهي مع إقامتك أو في مكتب الاستقبال.',
    edge_refused: 'لم يتمكن الفندق من استرداده. اسأل مكتب الاستقبال.',
    strange: 'تعذرت قراءة جواب الفندق. اسأل مكتب الاستقبال.',
  },
}

const BY_TAG: Readonly<Record<string, KeyWords>> = { en, de, fr, es, ar }

export const keyWords = (tag: string): KeyWords => BY_TAG[tag] ?? en
