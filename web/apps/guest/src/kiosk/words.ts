/** What only the kiosk says; everything else is the check-in's own. A sentence that a language lacks does not compile. */
import type { Trouble } from './line'

export interface KioskWords {
  title: string
  lead: string
  code: string
  codeHint: string
  surname: string
  begin: string
  beginning: string
  missing: string
  troubles: Record<Trouble, string>
  desk: string
  notSetUp: string
  notSetUpHint: string
  leave: string
  phone: string
  phoneTitle: string
  phoneHint: string
  phoneAlone: string
  phoneAway: string
  back: string
  payment: string
  grant: string
  over: string
  still: string
  stillHint: (seconds: number) => string
  here: string
  layDown: string
  read: string
  takeCard: string
  again: string
  cardAtWork: string
  cardFailed: string
  cardUnknown: string
  grantOrPhone: string
  room: string
  overCard: string
  receiptAtWork: string
  receiptDone: string
  receiptFailed: string
  receiptUnknown: string
  receiptTitle: string
  receiptDesk: string
  alone: string
  aloneHint: string
  atDesk: string
  atDeskHint: string
}

const en: KioskWords = {
  title: 'Check in here',
  lead: 'You need the code of your booking and the surname that it is in. What you began on your phone goes on here.',
  code: 'Booking code',
  codeHint: 'It stands in your confirmation.',
  surname: 'Surname',
  begin: 'Begin',
  beginning: 'Looking for your booking …',
  missing: 'Please fill this in.',
  troubles: {
    not_found: 'There is no booking of this code and name that is expected here. Please check both.',
    too_many: 'That was tried too often. Please wait a minute, or go to the front desk.',
    offline: 'This screen has no line to the check-in now. The front desk has your booking and checks you in.',
    ended: 'This screen is not in use. The front desk checks you in.',
    strange: 'Something went wrong here. The front desk checks you in.',
  },
  desk: 'The front desk is glad to help at any time.',
  notSetUp: 'This screen is not set up',
  notSetUpHint: 'Whoever runs the house makes a link for it in the console and opens it here once.',
  leave: 'Leave and forget me',
  phone: 'Go on with my phone',
  phoneTitle: 'Go on with your phone',
  phoneHint: 'Point the camera of your phone at this code and open the link. It is yours alone; what you have done here is kept.',
  phoneAlone: 'Join the hotel’s Wi-Fi, then point your phone’s camera at this code and open the link: the house itself puts the key on your phone. The first phone that opens it has the key.',
  phoneAway: 'No code can be made now. Please ask the front desk.',
  back: 'Back',
  payment: 'The deposit is paid on your phone, or at the front desk. No card is typed in here.',
  grant: 'Your key goes to your phone. If you would rather have a card, the front desk makes one.',
  over: 'All done. This screen forgets you now; your key is on your phone or at the front desk.',
  still: 'Are you still there?',
  stillHint: (seconds) => `This screen forgets you in ${seconds} seconds. Your check-in is kept: your code and name bring it back.`,
  here: 'I am still here',
  layDown: 'Lay your passport or card on the reader. You may also type the lines below.',
  read: 'Your document was read. Check the lines, take it back, and go on.',
  takeCard: 'Take a key card here',
  again: 'Try again',
  cardAtWork: 'Your card is being written. Please wait a moment …',
  cardFailed: 'No card was given. Try once more, or go to the front desk: they make your card.',
  cardUnknown: 'It is not sure whether your card came out. If you hold it, keep it and show it at the front desk; if not, they make you one.',
  grantOrPhone: 'Or take the key on your phone.',
  room: 'Your room:',
  overCard: 'All done. Take your card; this screen forgets you in a moment.',
  receiptAtWork: 'Your receipt is being printed …',
  receiptDone: 'Your receipt has been printed.',
  receiptFailed: 'No receipt could be printed here. The front desk prints one.',
  receiptUnknown: 'It is not sure whether your receipt was printed. The front desk prints one.',
  receiptTitle: 'Checked in at the kiosk',
  receiptDesk: 'The front desk is glad to help at any time.',
  alone: 'The hotel has no line to its system right now',
  aloneHint: 'What can be done without it is done here; for the rest the front desk is there.',
  atDesk: 'Please go to the front desk',
  atDeskHint: 'They check you in there, with your document; the house has your booking.',
}

const de: KioskWords = {
  title: 'Hier einchecken',
  lead: 'Sie brauchen den Code Ihrer Buchung und den Nachnamen, auf den sie lautet. Was Sie am Telefon begonnen haben, geht hier weiter.',
  code: 'Buchungscode',
  codeHint: 'Er steht in Ihrer Bestätigung.',
  surname: 'Nachname',
  begin: 'Beginnen',
  beginning: 'Ihre Buchung wird gesucht …',
  missing: 'Bitte ausfüllen.',
  troubles: {
    not_found: 'Eine Buchung mit diesem Code und Namen wird hier nicht erwartet. Bitte prüfen Sie beides.',
    too_many: 'Das wurde zu oft versucht. Bitte warten Sie eine Minute oder gehen Sie zur Rezeption.',
    offline: 'Dieser Bildschirm hat gerade keine Verbindung. Die Rezeption hat Ihre Buchung und checkt Sie ein.',
    ended: 'Dieser Bildschirm ist nicht in Betrieb. Die Rezeption checkt Sie ein.',
    strange: 'Hier ging etwas schief. Die Rezeption checkt Sie ein.',
  },
  desk: 'Die Rezeption hilft Ihnen jederzeit gern.',
  notSetUp: 'Dieser Bildschirm ist nicht eingerichtet',
  notSetUpHint: 'Wer das Haus leitet, erstellt in der Konsole einen Link und öffnet ihn hier einmal.',
  leave: 'Verlassen und mich vergessen',
  phone: 'Am Telefon weitermachen',
  phoneTitle: 'Am Telefon weitermachen',
  phoneHint: 'Richten Sie die Kamera Ihres Telefons auf diesen Code und öffnen Sie den Link. Er gehört Ihnen allein; was Sie hier getan haben, bleibt.',
  phoneAlone: 'Verbinden Sie sich mit dem WLAN des Hotels, richten Sie die Kamera Ihres Telefons auf diesen Code und öffnen Sie den Link: Das Haus selbst gibt den Schlüssel auf Ihr Telefon. Das erste Telefon, das ihn öffnet, hat den Schlüssel.',
  phoneAway: 'Gerade kann kein Code erstellt werden. Bitte fragen Sie die Rezeption.',
  back: 'Zurück',
  payment: 'Die Kaution wird am Telefon oder an der Rezeption bezahlt. Hier wird keine Karte eingetippt.',
  grant: 'Ihr Schlüssel kommt auf Ihr Telefon. Wenn Sie lieber eine Karte möchten, macht sie die Rezeption.',
  over: 'Alles erledigt. Dieser Bildschirm vergisst Sie jetzt; Ihr Schlüssel ist am Telefon oder an der Rezeption.',
  still: 'Sind Sie noch da?',
  stillHint: (seconds) => `Dieser Bildschirm vergisst Sie in ${seconds} Sekunden. Ihr Check-in bleibt: Code und Name bringen ihn zurück.`,
  here: 'Ich bin noch da',
  layDown: 'Legen Sie Pass oder Ausweis auf den Leser. Sie können die Zeilen auch unten eintippen.',
  read: 'Ihr Dokument wurde gelesen. Prüfen Sie die Zeilen, nehmen Sie es zurück und machen Sie weiter.',
  takeCard: 'Schlüsselkarte hier nehmen',
  again: 'Noch einmal versuchen',
  cardAtWork: 'Ihre Karte wird beschrieben. Einen Moment bitte …',
  cardFailed: 'Es kam keine Karte. Versuchen Sie es noch einmal oder gehen Sie zur Rezeption: dort wird Ihre Karte gemacht.',
  cardUnknown: 'Es ist nicht sicher, ob Ihre Karte kam. Wenn Sie sie haben, behalten Sie sie und zeigen Sie sie an der Rezeption; wenn nicht, bekommen Sie dort eine.',
  grantOrPhone: 'Oder nehmen Sie den Schlüssel auf Ihr Telefon.',
  room: 'Ihr Zimmer:',
  overCard: 'Alles erledigt. Nehmen Sie Ihre Karte; dieser Bildschirm vergisst Sie gleich.',
  receiptAtWork: 'Ihr Beleg wird gedruckt …',
  receiptDone: 'Ihr Beleg wurde gedruckt.',
  receiptFailed: 'Hier konnte kein Beleg gedruckt werden. Die Rezeption druckt einen.',
  receiptUnknown: 'Es ist nicht sicher, ob Ihr Beleg gedruckt wurde. Die Rezeption druckt einen.',
  receiptTitle: 'Am Bildschirm eingecheckt',
  receiptDesk: 'Die Rezeption hilft Ihnen jederzeit gern.',
  alone: 'Das Hotel hat gerade keine Verbindung zu seinem System',
  aloneHint: 'Was ohne sie geht, geht hier; für alles andere ist die Rezeption da.',
  atDesk: 'Bitte gehen Sie zur Rezeption',
  atDeskHint: 'Dort werden Sie mit Ihrem Dokument eingecheckt; das Haus hat Ihre Buchung.',
}

const fr: KioskWords = {
  title: 'Enregistrez-vous ici',
  lead: 'Il vous faut le code de votre réservation et le nom auquel elle est faite. Ce que vous avez commencé sur votre téléphone continue ici.',
  code: 'Code de réservation',
  codeHint: 'Il figure dans votre confirmation.',
  surname: 'Nom',
  begin: 'Commencer',
  beginning: 'Recherche de votre réservation …',
  missing: 'Veuillez remplir ce champ.',
  troubles: {
    not_found: 'Aucune réservation de ce code et de ce nom n’est attendue ici. Veuillez vérifier les deux.',
    too_many: 'Trop d’essais. Veuillez attendre une minute ou vous adresser à la réception.',
    offline: 'Cet écran n’a pas de connexion en ce moment. La réception a votre réservation et vous enregistre.',
    ended: 'Cet écran n’est pas en service. La réception vous enregistre.',
    strange: 'Un problème est survenu ici. La réception vous enregistre.',
  },
  desk: 'La réception vous aide volontiers à tout moment.',
  notSetUp: 'Cet écran n’est pas installé',
  notSetUpHint: 'La direction crée un lien dans la console et l’ouvre ici une fois.',
  leave: 'Quitter et m’oublier',
  phone: 'Continuer sur mon téléphone',
  phoneTitle: 'Continuez sur votre téléphone',
  phoneHint: 'Visez ce code avec l’appareil photo de votre téléphone et ouvrez le lien. Il n’est qu’à vous ; ce que vous avez fait ici est gardé.',
  phoneAlone: 'Rejoignez le Wi-Fi de l’hôtel, visez ce code avec l’appareil photo de votre téléphone et ouvrez le lien : la maison même met la clé sur votre téléphone. Le premier téléphone qui l’ouvre a la clé.',
  phoneAway: 'Aucun code ne peut être créé maintenant. Veuillez vous adresser à la réception.',
  back: 'Retour',
  payment: 'La caution se paie sur votre téléphone ou à la réception. Aucune carte n’est saisie ici.',
  grant: 'Votre clé arrive sur votre téléphone. Si vous préférez une carte, la réception vous en fait une.',
  over: 'C’est fait. Cet écran vous oublie maintenant ; votre clé est sur votre téléphone ou à la réception.',
  still: 'Êtes-vous toujours là ?',
  stillHint: (seconds) => `Cet écran vous oublie dans ${seconds} secondes. Votre enregistrement est gardé : le code et le nom le ramènent.`,
  here: 'Je suis toujours là',
  layDown: 'Posez votre passeport ou votre carte sur le lecteur. Vous pouvez aussi saisir les lignes ci-dessous.',
  read: 'Votre document a été lu. Vérifiez les lignes, reprenez-le et continuez.',
  takeCard: 'Prendre une carte-clé ici',
  again: 'Réessayer',
  cardAtWork: 'Votre carte est en cours d’écriture. Un instant …',
  cardFailed: 'Aucune carte n’a été remise. Réessayez ou adressez-vous à la réception, qui fera votre carte.',
  cardUnknown: 'Il n’est pas certain que votre carte soit sortie. Si vous l’avez, gardez-la et montrez-la à la réception ; sinon, on vous en fera une.',
  grantOrPhone: 'Ou prenez la clé sur votre téléphone.',
  room: 'Votre chambre :',
  overCard: 'C’est fait. Prenez votre carte ; cet écran vous oublie dans un instant.',
  receiptAtWork: 'Votre reçu s’imprime …',
  receiptDone: 'Votre reçu a été imprimé.',
  receiptFailed: 'Aucun reçu n’a pu être imprimé ici. La réception en imprime un.',
  receiptUnknown: 'Il n’est pas certain que votre reçu soit imprimé. La réception en imprime un.',
  receiptTitle: 'Enregistré à la borne',
  receiptDesk: 'La réception vous aide volontiers à tout moment.',
  alone: 'L’hôtel n’a pas de connexion à son système en ce moment',
  aloneHint: 'Ce qui est possible sans elle se fait ici ; pour le reste, la réception est là.',
  atDesk: 'Veuillez vous adresser à la réception',
  atDeskHint: 'Elle vous enregistre avec votre document ; la maison a votre réservation.',
}

const es: KioskWords = {
  title: 'Regístrese aquí',
  lead: 'Necesita el código de su reserva y el apellido con el que se hizo. Lo que empezó en su teléfono continúa aquí.',
  code: 'Código de reserva',
  codeHint: 'Está en su confirmación.',
  surname: 'Apellido',
  begin: 'Empezar',
  beginning: 'Buscando su reserva …',
  missing: 'Rellene este campo, por favor.',
  troubles: {
    not_found: 'No se espera aquí ninguna reserva con este código y apellido. Compruebe ambos, por favor.',
    too_many: 'Demasiados intentos. Espere un minuto o diríjase a la recepción.',
    offline: 'Esta pantalla no tiene conexión ahora. La recepción tiene su reserva y le registra.',
    ended: 'Esta pantalla no está en servicio. La recepción le registra.',
    strange: 'Algo ha fallado aquí. La recepción le registra.',
  },
  desk: 'La recepción le ayuda con gusto en todo momento.',
  notSetUp: 'Esta pantalla no está configurada',
  notSetUpHint: 'Quien dirige la casa crea un enlace en la consola y lo abre aquí una vez.',
  leave: 'Salir y olvidarme',
  phone: 'Seguir en mi teléfono',
  phoneTitle: 'Siga en su teléfono',
  phoneHint: 'Apunte a este código con la cámara de su teléfono y abra el enlace. Es solo suyo; lo que ha hecho aquí se conserva.',
  phoneAlone: 'Conéctese al Wi-Fi del hotel, apunte a este código con la cámara de su teléfono y abra el enlace: la casa misma pone la llave en su teléfono. El primer teléfono que lo abre tiene la llave.',
  phoneAway: 'Ahora no se puede crear un código. Pregunte en la recepción.',
  back: 'Volver',
  payment: 'El depósito se paga en su teléfono o en la recepción. Aquí no se teclea ninguna tarjeta.',
  grant: 'Su llave llega a su teléfono. Si prefiere una tarjeta, la recepción se la hace.',
  over: 'Todo listo. Esta pantalla le olvida ahora; su llave está en su teléfono o en la recepción.',
  still: '¿Sigue ahí?',
  stillHint: (seconds) => `Esta pantalla le olvida en ${seconds} segundos. Su registro se conserva: el código y el apellido lo recuperan.`,
  here: 'Sigo aquí',
  layDown: 'Ponga su pasaporte o documento en el lector. También puede escribir las líneas abajo.',
  read: 'Se ha leído su documento. Compruebe las líneas, recójalo y continúe.',
  takeCard: 'Coger aquí una tarjeta llave',
  again: 'Intentar de nuevo',
  cardAtWork: 'Se está grabando su tarjeta. Un momento, por favor …',
  cardFailed: 'No se ha entregado ninguna tarjeta. Inténtelo otra vez o diríjase a la recepción: allí le hacen la tarjeta.',
  cardUnknown: 'No es seguro que su tarjeta haya salido. Si la tiene, guárdela y muéstrela en la recepción; si no, allí le hacen una.',
  grantOrPhone: 'O lleve la llave en su teléfono.',
  room: 'Su habitación:',
  overCard: 'Todo listo. Recoja su tarjeta; esta pantalla le olvida en un momento.',
  receiptAtWork: 'Se está imprimiendo su recibo …',
  receiptDone: 'Su recibo se ha impreso.',
  receiptFailed: 'Aquí no se pudo imprimir un recibo. La recepción imprime uno.',
  receiptUnknown: 'No es seguro que se haya impreso su recibo. La recepción imprime uno.',
  receiptTitle: 'Registrado en la pantalla',
  receiptDesk: 'La recepción le ayuda con gusto en todo momento.',
  alone: 'El hotel no tiene conexión con su sistema ahora',
  aloneHint: 'Lo que es posible sin ella se hace aquí; para lo demás está la recepción.',
  atDesk: 'Diríjase a la recepción, por favor',
  atDeskHint: 'Allí le registran con su documento; la casa tiene su reserva.',
}

const ar: KioskWords = {
  title: 'سجّل وصولك هنا',
  lead: 'تحتاج إلى رمز حجزك واسم العائلة المسجّل به. ما بدأته على هاتفك يُستكمل هنا.',
  code: 'رمز الحجز',
  codeHint: 'تجده في رسالة التأكيد.',
  surname: 'اسم العائلة',
  begin: 'ابدأ',
  beginning: 'جارٍ البحث عن حجزك …',
  missing: 'يرجى ملء هذا الحقل.',
  troubles: {
    not_found: 'لا يوجد حجز متوقع هنا بهذا الرمز والاسم. يرجى التحقق من كليهما.',
    too_many: 'محاولات كثيرة. يرجى الانتظار دقيقة أو التوجه إلى الاستقبال.',
    offline: 'لا يوجد اتصال لهذه الشاشة الآن. حجزك لدى الاستقبال وسيسجّل وصولك.',
    ended: 'هذه الشاشة خارج الخدمة. سيسجّل الاستقبال وصولك.',
    strange: 'حدث خطأ هنا. سيسجّل الاستقبال وصولك.',
  },
  desk: 'يسعد الاستقبال بمساعدتك في أي وقت.',
  notSetUp: 'لم يتم إعداد هذه الشاشة',
  notSetUpHint: 'ينشئ مدير الفندق رابطًا في لوحة التحكم ويفتحه هنا مرة واحدة.',
  leave: 'مغادرة ونسيان بياناتي',
  phone: 'المتابعة على هاتفي',
  phoneTitle: 'تابع على هاتفك',
  phoneHint: 'وجّه كاميرا هاتفك نحو هذا الرمز وافتح الرابط. إنه لك وحدك، وما أنجزته هنا محفوظ.',
  phoneAlone: 'اتصل بشبكة الواي فاي الخاصة بالفندق، ثم وجّه كاميرا هاتفك نحو هذا الرمز وافتح الرابط: يضع الفندق نفسه المفتاح على هاتفك. أول هاتف يفتحه يحصل على المفتاح.',
  phoneAway: 'لا يمكن إنشاء رمز الآن. يرجى سؤال الاستقبال.',
  back: 'رجوع',
  payment: 'يُدفع التأمين على هاتفك أو في الاستقبال. لا تُكتب أي بطاقة هنا.',
  grant: 'يصل مفتاحك إلى هاتفك. إن فضّلت بطاقة فسيعدّها لك الاستقبال.',
  over: 'تم كل شيء. تنساك هذه الشاشة الآن، ومفتاحك على هاتفك أو في الاستقبال.',
  still: 'هل ما زلت هنا؟',
  stillHint: (seconds) => `ستنساك هذه الشاشة خلال ${seconds} ثانية. تسجيلك محفوظ: الرمز والاسم يعيدانه.`,
  here: 'ما زلت هنا',
  layDown: 'ضع جواز سفرك أو بطاقتك على القارئ. يمكنك أيضًا كتابة الأسطر أدناه.',
  read: 'تمت قراءة وثيقتك. تحقق من الأسطر، واستعد وثيقتك، ثم تابع.',
  takeCard: 'خذ بطاقة المفتاح هنا',
  again: 'حاول مرة أخرى',
  cardAtWork: 'تجري كتابة بطاقتك. لحظة من فضلك …',
  cardFailed: 'لم تُسلَّم أي بطاقة. حاول مرة أخرى أو توجه إلى الاستقبال حيث تُعدّ بطاقتك.',
  cardUnknown: 'ليس مؤكدًا أن بطاقتك خرجت. إن كانت معك فاحتفظ بها وأظهرها في الاستقبال، وإلا فستُعدّ لك بطاقة هناك.',
  grantOrPhone: 'أو خذ المفتاح على هاتفك.',
  room: 'غرفتك:',
  overCard: 'تم كل شيء. خذ بطاقتك؛ ستنساك هذه الشاشة بعد لحظات.',
  receiptAtWork: 'تجري طباعة إيصالك …',
  receiptDone: 'تمت طباعة إيصالك.',
  receiptFailed: 'تعذّرت طباعة إيصال هنا. يطبعه لك الاستقبال.',
  receiptUnknown: 'ليس مؤكدًا أن إيصالك طُبع. يطبعه لك الاستقبال.',
  receiptTitle: 'تم تسجيل الوصول عند الشاشة',
  receiptDesk: 'يسعد الاستقبال بمساعدتك في أي وقت.',
  alone: 'لا يوجد اتصال للفندق بنظامه الآن',
  aloneHint: 'ما يمكن إنجازه من دونه يتم هنا، والاستقبال موجود لما تبقى.',
  atDesk: 'يرجى التوجه إلى الاستقبال',
  atDeskHint: 'سيسجّلون وصولك هناك مع وثيقتك، وحجزك موجود لدى الفندق.',
}

const ALL: Record<string, KioskWords> = { en, de, fr, es, ar }

export const kioskWords = (tag: string): KioskWords => ALL[tag] ?? en
