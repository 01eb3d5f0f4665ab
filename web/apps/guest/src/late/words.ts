/** The words of leaving later, in each of the page's languages. A sentence that a language lacks does not compile. */
import type { LateTrouble } from './lateCheckOut'

export interface LateWords {
  title: string
  /** When the stay ends as things are. */
  ends: (hour: string) => string
  until: string
  ask: string
  asking: string
  withdraw: string
  asked: (until: string, ends: string) => string
  granted: (until: string) => string
  doorsUnaware: string
  refused: (until: string, ends: string) => string
  lapsed: (until: string, ends: string) => string
  overtaken: (until: string) => string
  troubles: Readonly<Record<LateTrouble, string>>
}

const en: LateWords = {
  title: 'Late check-out',
  ends: (hour) => `Check-out is at ${hour}.`,
  until: 'I would like to stay until',
  ask: 'Ask for it',
  asking: 'Asking…',
  withdraw: 'Take it back',
  asked: (until, ends) => `You asked to stay until ${until}. The front desk will answer here. Until then, check-out is at ${ends}.`,
  granted: (until) => `You may stay until ${until}.`,
  doorsUnaware: 'The doors have not heard of it yet: until they have, your key ends as before.',
  refused: (until, ends) => `You cannot stay until ${until}. Check-out is at ${ends}.`,
  lapsed: (until, ends) => `Nobody answered your wish to stay until ${until} in time. Check-out was at ${ends}; please see the front desk.`,
  overtaken: (until) => `Your stay ends otherwise by now. What you asked for (until ${until}) holds no longer.`,
  troubles: {
    offline: 'There is no line to the hotel just now.',
    unanswered: 'No answer came. Look again in a moment: it may have been taken.',
    signed_out: 'This link is no longer good. Ask the front desk.',
    not_offered: 'This cannot be asked for here any more. Ask the front desk.',
    not_in_house: 'This is for guests who are in the house.',
    over: 'This stay was to end before now. Ask the front desk.',
    not_later: 'Your stay ends no earlier than that.',
    too_late: 'That is later than this house gives.',
    asked_already: 'Another hour was asked for, and is not answered yet.',
    refused_already: 'That was refused already. Ask the front desk.',
    too_often: 'This was asked for too often. Ask the front desk.',
    strange: 'The answer could not be read. Ask the front desk.',
  },
}

const de: LateWords = {
  title: 'Später abreisen',
  ends: (hour) => `Abreise ist um ${hour} Uhr.`,
  until: 'Ich möchte bleiben bis',
  ask: 'Anfragen',
  asking: 'Wird angefragt…',
  withdraw: 'Zurückziehen',
  asked: (until, ends) => `Sie möchten bis ${until} Uhr bleiben. Die Rezeption antwortet hier. Bis dahin gilt die Abreise um ${ends} Uhr.`,
  granted: (until) => `Sie können bis ${until} Uhr bleiben.`,
  doorsUnaware: 'Die Türen wissen es noch nicht: Bis dahin endet Ihr Schlüssel wie bisher.',
  refused: (until, ends) => `Bis ${until} Uhr zu bleiben ist nicht möglich. Abreise ist um ${ends} Uhr.`,
  lapsed: (until, ends) => `Auf Ihren Wunsch, bis ${until} Uhr zu bleiben, hat niemand rechtzeitig geantwortet. Abreise war um ${ends} Uhr; bitte fragen Sie an der Rezeption.`,
  overtaken: (until) => `Ihr Aufenthalt endet inzwischen anders. Was Sie angefragt haben (bis ${until} Uhr), gilt nicht mehr.`,
  troubles: {
    offline: 'Es gibt gerade keine Verbindung zum Hotel.',
    unanswered: 'Es kam keine Antwort. Sehen Sie gleich noch einmal nach: Es ist vielleicht angekommen.',
    signed_out: 'Dieser Link gilt nicht mehr. Fragen Sie an der Rezeption.',
    not_offered: 'Das lässt sich hier nicht mehr anfragen. Fragen Sie an der Rezeption.',
    not_in_house: 'Das ist für Gäste, die im Haus sind.',
    over: 'Dieser Aufenthalt sollte schon zu Ende sein. Fragen Sie an der Rezeption.',
    not_later: 'Ihr Aufenthalt endet nicht früher als das.',
    too_late: 'So spät geht es in diesem Haus nicht.',
    asked_already: 'Eine andere Uhrzeit ist angefragt und noch nicht beantwortet.',
    refused_already: 'Das wurde schon abgelehnt. Fragen Sie an der Rezeption.',
    too_often: 'Das wurde zu oft angefragt. Fragen Sie an der Rezeption.',
    strange: 'Die Antwort war nicht zu lesen. Fragen Sie an der Rezeption.',
  },
}

const fr: LateWords = {
  title: 'Départ tardif',
  ends: (hour) => `Le départ est à ${hour}.`,
  until: 'Je voudrais rester jusqu’à',
  ask: 'Demander',
  asking: 'Demande en cours…',
  withdraw: 'Annuler la demande',
  asked: (until, ends) => `Vous avez demandé à rester jusqu’à ${until}. La réception répondra ici. D’ici là, le départ reste à ${ends}.`,
  granted: (until) => `Vous pouvez rester jusqu’à ${until}.`,
  doorsUnaware: 'Les portes ne le savent pas encore : d’ici là, votre clé finit comme avant.',
  refused: (until, ends) => `Il n’est pas possible de rester jusqu’à ${until}. Le départ est à ${ends}.`,
  lapsed: (until, ends) => `Personne n’a répondu à temps à votre demande de rester jusqu’à ${until}. Le départ était à ${ends} ; adressez-vous à la réception.`,
  overtaken: (until) => `Votre séjour finit autrement désormais. Votre demande (jusqu’à ${until}) n’est plus valable.`,
  troubles: {
    offline: 'Pas de connexion avec l’hôtel pour le moment.',
    unanswered: 'Aucune réponse. Regardez encore dans un instant : la demande est peut-être passée.',
    signed_out: 'Ce lien n’est plus valable. Adressez-vous à la réception.',
    not_offered: 'Cela ne peut plus être demandé ici. Adressez-vous à la réception.',
    not_in_house: 'Cela s’adresse aux clients présents dans l’hôtel.',
    over: 'Ce séjour devait déjà être fini. Adressez-vous à la réception.',
    not_later: 'Votre séjour ne finit pas plus tôt que cela.',
    too_late: 'C’est plus tard que ce que l’hôtel accorde.',
    asked_already: 'Une autre heure a été demandée et n’a pas encore de réponse.',
    refused_already: 'Cela a déjà été refusé. Adressez-vous à la réception.',
    too_often: 'Cela a été demandé trop souvent. Adressez-vous à la réception.',
    strange: 'La réponse est illisible. Adressez-vous à la réception.',
  },
}

const es: LateWords = {
  title: 'Salida tardía',
  ends: (hour) => `La salida es a las ${hour}.`,
  until: 'Quisiera quedarme hasta las',
  ask: 'Pedirlo',
  asking: 'Preguntando…',
  withdraw: 'Retirar la petición',
  asked: (until, ends) => `Ha pedido quedarse hasta las ${until}. Recepción responderá aquí. Hasta entonces, la salida es a las ${ends}.`,
  granted: (until) => `Puede quedarse hasta las ${until}.`,
  doorsUnaware: 'Las puertas aún no lo saben: hasta entonces, su llave termina como antes.',
  refused: (until, ends) => `No es posible quedarse hasta las ${until}. La salida es a las ${ends}.`,
  lapsed: (until, ends) => `Nadie respondió a tiempo a su petición de quedarse hasta las ${until}. La salida era a las ${ends}; pregunte en recepción.`,
  overtaken: (until) => `Su estancia termina ahora de otro modo. Lo que pidió (hasta las ${until}) ya no vale.`,
  troubles: {
    offline: 'Ahora mismo no hay conexión con el hotel.',
    unanswered: 'No llegó respuesta. Mire otra vez en un momento: quizá se recibió.',
    signed_out: 'Este enlace ya no vale. Pregunte en recepción.',
    not_offered: 'Esto ya no se puede pedir aquí. Pregunte en recepción.',
    not_in_house: 'Esto es para huéspedes que están en el hotel.',
    over: 'Esta estancia debía haber terminado. Pregunte en recepción.',
    not_later: 'Su estancia no termina antes de esa hora.',
    too_late: 'Es más tarde de lo que este hotel concede.',
    asked_already: 'Se pidió otra hora y aún no hay respuesta.',
    refused_already: 'Eso ya se rechazó. Pregunte en recepción.',
    too_often: 'Esto se pidió demasiadas veces. Pregunte en recepción.',
    strange: 'No se pudo leer la respuesta. Pregunte en recepción.',
  },
}

const ar: LateWords = {
  title: 'مغادرة متأخرة',
  ends: (hour) => `موعد المغادرة الساعة ${hour}.`,
  until: 'أود البقاء حتى الساعة',
  ask: 'اطلب ذلك',
  asking: 'جارٍ الطلب…',
  withdraw: 'سحب الطلب',
  asked: (until, ends) => `طلبت البقاء حتى الساعة ${until}. سيجيبك مكتب الاستقبال هنا. وحتى ذلك الحين تبقى المغادرة الساعة ${ends}.`,
  granted: (until) => `يمكنك البقاء حتى الساعة ${until}.`,
  doorsUnaware: 'لم تعلم الأبواب بذلك بعد: وحتى تعلم ينتهي مفتاحك كما كان.',
  refused: (until, ends) => `لا يمكن البقاء حتى الساعة ${until}. موعد المغادرة الساعة ${ends}.`,
  lapsed: (until, ends) => `لم يُجب أحد في الوقت المناسب على طلبك البقاء حتى الساعة ${until}. كان موعد المغادرة الساعة ${ends}؛ يرجى مراجعة مكتب الاستقبال.`,
  overtaken: (until) => `تنتهي إقامتك الآن في موعد آخر. ما طلبته (حتى الساعة ${until}) لم يعد ساريًا.`,
  troubles: {
    offline: 'لا يوجد اتصال بالفندق الآن.',
    unanswered: 'لم يصل جواب. انظر مجددًا بعد لحظة: ربما وصل طلبك.',
    signed_out: 'لم يعد هذا الرابط صالحًا. اسأل مكتب الاستقبال.',
    not_offered: 'لم يعد بالإمكان طلب ذلك هنا. اسأل مكتب الاستقبال.',
    not_in_house: 'هذا للضيوف الموجودين في الفندق.',
    over: 'كان من المفترض أن تكون هذه الإقامة قد انتهت. اسأل مكتب الاستقبال.',
    not_later: 'إقامتك لا تنتهي قبل ذلك.',
    too_late: 'هذا أبعد مما يمنحه هذا الفندق.',
    asked_already: 'طُلبت ساعة أخرى ولم يُجب عنها بعد.',
    refused_already: 'سبق رفض ذلك. اسأل مكتب الاستقبال.',
    too_often: 'طُلب ذلك مرات كثيرة. اسأل مكتب الاستقبال.',
    strange: 'تعذرت قراءة الجواب. اسأل مكتب الاستقبال.',
  },
}

const BY_TAG: Readonly<Record<string, LateWords>> = { en, de, fr, es, ar }

export const lateWords = (tag: string): LateWords => BY_TAG[tag] ?? en
