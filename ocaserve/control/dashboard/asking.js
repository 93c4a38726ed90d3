// Questions. What is pressed must belong to what is read, so one is asked after the other; and what
// was refused stays to be read, with the question still open.

const $ = (id) => document.getElementById(id);
const TOKEN = 'ocaserve-token';  // of this tab alone, gone when it closes
const FIELDS = ['start', 'end', 'reason'].filter((name) => $(`field-${name}`));
let asking = null;
let words = {
  away: 'The control process does not answer. Clients are not affected.',
  help: (role) => `None yet? On the appliance, "ocaserve token --role ${role}" makes one and says what to do with it.`,
};

// Of another page than the appliance's.
export function setWords(others) {
  words = others;
}

export function authorization() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? {Authorization: `Bearer ${token}`} : {};
}

// Returns the answer's JSON, or throws an Error in words. body: undefined sends none.
export async function call(method, path, body) {
  const headers = {...authorization(), ...(body === undefined ? {} : {'Content-Type': 'application/json'})};
  let answer;
  try {
    answer = await fetch(path, {method, headers, cache: 'no-store', body: body === undefined ? undefined : JSON.stringify(body)});
  } catch (error) {
    throw new Error(words.away);
  }
  const said = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(explain(answer.status, said));
  return said;
}

function explain(status, said) {
  const detail = [(said && said.detail) || `status ${status}`, ...((said && said.faults) || [])].join('; ');
  return `Refused: ${detail}${/[.!?]$/.test(detail) ? '' : '.'}`;
}

// what: {question, consequence, verb, role, fields, act}. `act` gets the fields' values; what it
// throws is shown, and the question stays open. Resolves to whether it was done.
export async function ask(what) {
  while (asking) await asking;
  asking = askNow(what);
  try {
    return await asking;
  } finally {
    asking = null;
  }
}

function prepare({question, consequence, verb, role, fields = {}, fault = ''}) {
  $('question').textContent = question;
  $('consequence').textContent = consequence;
  $('confirm').textContent = verb;
  $('token-label').textContent = `Token with the role ${role}`;
  $('help').textContent = words.help(role);
  for (const name of FIELDS) {
    $(`field-${name}`).hidden = !(name in fields);
    $(name).value = fields[name] || '';
    $(name).required = name !== 'reason' && name in fields;
  }
  $('token').value = sessionStorage.getItem(TOKEN) || '';
  $('fault').textContent = fault;
}

function askNow(what) {
  prepare(what);
  const dialog = $('dialog');
  let isDone = false;
  const submit = async (event) => {
    event.preventDefault();
    if ($('token').value) sessionStorage.setItem(TOKEN, $('token').value);
    else sessionStorage.removeItem(TOKEN);
    $('confirm').disabled = true;
    $('fault').textContent = '';
    try {
      await what.act(Object.fromEntries(FIELDS.map((name) => [name, $(name).value])));
      isDone = true;
      dialog.close();
    } catch (error) {
      $('fault').textContent = error.message;
    } finally {
      $('confirm').disabled = false;
    }
  };
  $('form').addEventListener('submit', submit);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      $('form').removeEventListener('submit', submit);
      resolve(isDone);
    }, {once: true});
  });
}

export function forgetToken() {
  sessionStorage.removeItem(TOKEN);
}

$('cancel').addEventListener('click', () => $('dialog').close());
