/** What the page says by which a phone takes its key from the house itself. */

export interface HouseWords {
  title: string
  taking: string
  wifi: string
  taken: string
  takenHint: string
  doors: string
  away: string
  gone: string
  nonsense: string
}

const en: HouseWords = {
  title: 'Your key from the house',
  taking: 'Your key is being made …',
  wifi: 'The hotel has no line to the internet right now: your phone gets the key inside the house. Stay in the hotel’s Wi-Fi, and allow this page to reach it if you are asked.',
  taken: 'Your key is on this phone',
  takenHint: 'It needs no internet. You can put the phone away; where you got the code, at the desk or at the screen, it is known too.',
  doors: 'To my doors',
  away: 'The house cannot be reached from this phone. Join the hotel’s Wi-Fi and try again.',
  gone: 'This code is not good any more. Take a new one at the screen, or ask the front desk.',
  nonsense: 'This is no code of a house. Take a new one at the screen, or ask the front desk.',
}

const de: HouseWords = {
  title: 'Ihr Schlüssel vom Haus',
  taking: 'Ihr Schlüssel wird gemacht …',
  wifi: 'Das Hotel hat gerade kein Internet: Ihr Telefon bekommt den Schlüssel im Haus selbst. Bleiben Sie im WLAN des Hotels, und erlauben Sie dieser Seite den Zugang, wenn Sie gefragt werden.',
  taken: 'Ihr Schlüssel ist auf diesem Telefon',
  takenHint: 'Er braucht kein Internet. Sie können das Telefon einstecken; wo Sie den Code bekommen haben, an der Rezeption oder am Bildschirm, weiß man es auch.',
  doors: 'Zu meinen Türen',
  away: 'Das Haus ist von diesem Telefon aus nicht zu erreichen. Verbinden Sie sich mit dem WLAN des Hotels und versuchen Sie es noch einmal.',
  gone: 'Dieser Code gilt nicht mehr. Holen Sie am Bildschirm einen neuen, oder fragen Sie die Rezeption.',
  nonsense: 'Das ist kein Code eines Hauses. Holen Sie am Bildschirm einen neuen, oder fragen Sie die Rezeption.',
}

const fr: HouseWords = {
  title: 'Votre clé de la maison',
  taking: 'Votre clé est en cours de création …',
  wifi: 'L’hôtel n’a pas d’internet en ce moment : votre téléphone reçoit la clé dans la maison même. Restez sur le Wi-Fi de l’hôtel et autorisez cette page à y accéder si la question est posée.',
  taken: 'Votre clé est sur ce téléphone',
  takenHint: 'Elle n’a pas besoin d’internet. Vous pouvez ranger le téléphone ; là où vous avez reçu le code, à la réception ou à l’écran, on le sait aussi.',
  doors: 'Vers mes portes',
  away: 'La maison n’est pas joignable depuis ce téléphone. Rejoignez le Wi-Fi de l’hôtel et réessayez.',
  gone: 'Ce code n’est plus valable. Prenez-en un nouveau à l’écran ou adressez-vous à la réception.',
  nonsense: 'Ce n’est pas un code de la maison. Prenez-en un nouveau à l’écran ou adressez-vous à la réception.',
}

const es: HouseWords = {
  title: 'Su llave de la casa',
  taking: 'Se está creando su llave …',
  wifi: 'El hotel no tiene internet ahora: su teléfono recibe la llave dentro de la casa. Quédese en el Wi-Fi del hotel y permita el acceso a esta página si se le pregunta.',
  taken: 'Su llave está en este teléfono',
  takenHint: 'No necesita internet. Puede guardar el teléfono; donde le dieron el código, en la recepción o en la pantalla, también se sabe.',
  doors: 'A mis puertas',
  away: 'Desde este teléfono no se llega a la casa. Conéctese al Wi-Fi del hotel e inténtelo otra vez.',
  gone: 'Este código ya no sirve. Tome otro en la pantalla o pregunte en la recepción.',
  nonsense: 'Esto no es un código de la casa. Tome otro en la pantalla o pregunte en la recepción.',
}

const ar: HouseWords = {
  title: 'مفتاحك من الفندق نفسه',
  taking: 'جارٍ إعداد مفتاحك …',
  wifi: 'لا يوجد إنترنت في الفندق الآن: يحصل هاتفك على المفتاح داخل المبنى. ابقَ على شبكة الواي فاي الخاصة بالفندق واسمح لهذه الصفحة بالوصول إليها إذا سُئلت.',
  taken: 'مفتاحك على هذا الهاتف',
  takenHint: 'لا يحتاج إلى الإنترنت. يمكنك وضع الهاتف جانبًا، وحيث حصلت على الرمز، في الاستقبال أو على الشاشة، يُعلم بذلك أيضًا.',
  doors: 'إلى أبوابي',
  away: 'لا يمكن الوصول إلى الفندق من هذا الهاتف. اتصل بشبكة الواي فاي الخاصة بالفندق وحاول مرة أخرى.',
  gone: 'لم يعد هذا الرمز صالحًا. خذ رمزًا جديدًا من الشاشة أو اسأل الاستقبال.',
  nonsense: 'هذا ليس رمزًا من الفندق. خذ رمزًا جديدًا من الشاشة أو اسأل الاستقبال.',
}

const ALL: Record<string, HouseWords> = { en, de, fr, es, ar }

export const houseWords = (tag: string): HouseWords => ALL[tag] ?? en
