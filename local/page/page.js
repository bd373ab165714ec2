// Signs users up and lists them with the API's two operations. The server decides which usernames
// are valid. This script inserts text, never markup.

const usersUrl = document.querySelector('meta[name="users-url"]').content;
const LONGEST = 80;
const PAGE_SIZE = 10;
/** Milliseconds that the page waits after the last keystroke before it sends a request. */
const TYPING_PAUSE = 250;
/** Milliseconds until the page tries an unreachable API again. */
const RETRY_PAUSE = 2000;

const byId = (id) => document.getElementById(id);
const offline = byId('offline');
const username = byId('username');
const availability = byId('availability');
const refusal = byId('refusal');
const prefix = byId('prefix');
const position = byId('position');
const previous = byId('previous');
const next = byId('next');

// Requests to the API.

let retrying;

class Unreachable extends Error {}

/**
 * Sends a request. If the API can't be reached, shows a message, and after a pause loads the list
 * to see whether the API is back.
 */
async function ask(url, options) {
  try {
    const response = await fetch(url, options);
    const text = await response.text();
    setText(offline, '');
    return { ok: response.ok, link: response.headers.get('Link'), status: response.status, text };
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    // Sets the text only once, because a screen reader reads it out each time that it is set.
    if (offline.textContent === '') {
      setText(offline, 'The API can’t be reached. Is “make run” still running? Trying again …');
    }
    clearTimeout(retrying);
    retrying = setTimeout(showPage, RETRY_PAUSE);
    throw new Unreachable();
  }
}

/** The reason in the service's problem document or in the gateway's answer, or else the status. */
function reasonOf({ status, text }) {
  let problem;
  try {
    problem = JSON.parse(text);
  } catch {
    // The answer is not JSON, so neither the service nor the gateway sent it.
  }
  const reason = problem?.errors?.[0]?.detail ?? problem?.detail ?? problem?.message;
  return reason ?? `The API answered ${status}.`;
}

function listUrl(parameters) {
  return `${usersUrl}?${new URLSearchParams(parameters)}`;
}

/** Reads the next page's URL from a `Link` header (RFC 8288). The last page has no such URL. */
function nextOf(link, url) {
  const target = /<([^>]*)>;\s*rel="?next"?/.exec(link ?? '')?.[1];
  return target && new URL(target, url).href;
}

function setText(element, text, kind) {
  element.textContent = text;
  if (kind !== undefined) element.className = kind;
}

/**
 * Quotes a name. The isolating marks keep a right-to-left name from changing the order of the words
 * around it.
 */
function quote(name) {
  return `“\u2068${name}\u2069”`;
}

// Signing up.

/**
 * Converts half-width and full-width characters to ordinary characters, and the text to NFC, as the
 * server does before it counts characters.
 */
function displayForm(text) {
  return text.replace(/[\u3000\uFF01-\uFFEE]/g, (wide) => wide.normalize('NFKC')).normalize('NFC');
}

/**
 * The length of a name in lower case, in characters. The server compares names in lower case. Some
 * names are longer in lower case: `İ` becomes `i` and a combining dot.
 */
function lengthOfKey(text) {
  return [...displayForm(text).toLowerCase().normalize('NFC')].length;
}

function tooShortOrLong(name) {
  const length = [...displayForm(name)].length;
  if (length === 0) return `The username is empty; it needs 1 to ${LONGEST} characters.`;
  if (length > LONGEST) {
    return `The username has ${length} characters; at most ${LONGEST} are allowed.`;
  }
  return '';
}

/**
 * Asks the API whether a name is taken. The API lists a name before longer names that begin with
 * it. So the name is taken if the first username with this prefix is as long as the name.
 */
async function isTaken(name, signal) {
  const answer = await ask(listUrl({ prefix: name, limit: 1 }), { signal });
  if (!answer.ok) throw new Error(reasonOf(answer));
  const [first] = JSON.parse(answer.text);
  return first !== undefined && lengthOfKey(first.username) === lengthOfKey(name);
}

let typing;
let asking = new AbortController();

function cancelCheck() {
  clearTimeout(typing);
  asking.abort();
  asking = new AbortController();
}

username.addEventListener('input', () => {
  isWaiting = false;
  cancelCheck();
  refuse('');
  const name = username.value;
  const problem = tooShortOrLong(name);
  if (problem) {
    setText(availability, problem, 'bad');
    username.setAttribute('aria-invalid', 'true');
    return;
  }
  setText(availability, '');
  const { signal } = asking;
  typing = setTimeout(async () => {
    try {
      const taken = await isTaken(name, signal);
      if (taken) setText(availability, `${quote(name)} is taken.`, 'bad');
      // The message does not say "available", because the name may be invalid. A prefix may be any
      // text, and only the sign-up validates the name.
      else setText(availability, `${quote(name)} is not taken.`, '');
    } catch {
      // The check has failed, but the sign-up will say whether the name is taken.
    }
  }, TYPING_PAUSE);
});

function refuse(reason) {
  setText(refusal, reason);
  if (reason) {
    username.setAttribute('aria-invalid', 'true');
    username.focus();
  } else {
    username.removeAttribute('aria-invalid');
  }
}

/**
 * The username and the Idempotency-Key of the last sign-up that has not succeeded. A new attempt
 * with the same username sends the same key. So if the last attempt did create the user, the server
 * answers with this user. With a new key, it would answer that the username is taken.
 */
let attempt = {};
/** The username in the sign-up request that waits for its answer, or undefined. */
let sending;
/** Whether the user has submitted another name, which waits for the end of the sign-up request. */
let isWaiting = false;

const signUp = byId('sign-up');
signUp.addEventListener('submit', async (event) => {
  event.preventDefault();
  const name = username.value;
  if (name === sending) return;
  cancelCheck();
  setText(availability, '');
  refuse('');
  const problem = tooShortOrLong(name);
  if (problem) {
    refuse(problem);
    return;
  }
  if (sending !== undefined) {
    isWaiting = true;
    setText(availability, `Waiting for the answer about ${quote(sending)} …`, '');
    return;
  }
  if (attempt.name !== name) attempt = { name, key: crypto.randomUUID() };
  sending = name;
  setText(availability, 'Signing up …', '');
  try {
    const answer = await ask(usersUrl, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Idempotency-Key': `"${attempt.key}"` },
      body: JSON.stringify({ username: name }),
    });
    if (answer.ok) {
      attempt = {};
      showPage();
    }
    // Shows no result if the user has typed another name meanwhile.
    if (username.value !== name) return;
    cancelCheck();
    if (!answer.ok) {
      setText(availability, '');
      refuse(reasonOf(answer));
      return;
    }
    username.value = '';
    username.focus();
    setText(availability, `${quote(JSON.parse(answer.text).username)} has signed up.`, 'good');
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    if (username.value !== name) return;
    setText(availability, '');
    refuse('The API did not answer. Sign up again later. The second attempt never creates a second user.');
  } finally {
    sending = undefined;
    if (isWaiting) {
      isWaiting = false;
      signUp.requestSubmit();
    }
  }
});

// The list. `pages` holds the URLs of all pages up to the current one, `after` the URL of the next.

let pages = [listUrl({ limit: PAGE_SIZE })];
let after;
let filtering;
let showing = new AbortController();

async function showPage() {
  showing.abort();
  showing = new AbortController();
  const { signal } = showing;
  disable(previous, true);
  disable(next, true);
  const url = pages.at(-1);
  let answer;
  try {
    answer = await ask(url, { signal });
  } catch {
    // Nothing is left to do: a later `showPage` has canceled this request, or `ask` has already
    // displayed that the API can't be reached.
    return;
  }
  const users = answer.ok ? JSON.parse(answer.text) : [];
  after = answer.ok ? nextOf(answer.link, url) : undefined;
  document.querySelector('#list tbody').replaceChildren(...users.map(row));
  byId('list').hidden = users.length === 0;
  disable(previous, pages.length === 1);
  disable(next, !after);
  if (answer.ok) setText(position, positionOf(users.length), '');
  else setText(position, reasonOf(answer), 'bad');
}

function positionOf(count) {
  if (count > 0) {
    const first = (pages.length - 1) * PAGE_SIZE + 1;
    const last = first + count - 1;
    return first === last ? `User ${first}` : `Users ${first} to ${last}`;
  }
  // The list's prefix is in its URL. The field may already hold a newer prefix.
  const wanted = new URL(pages[0]).searchParams.get('prefix');
  if (wanted === null) return 'Nobody has signed up yet.';
  return `No username begins with ${quote(wanted)}.`;
}

function row(user) {
  const name = document.createElement('bdi');
  name.textContent = user.username;
  const heading = document.createElement('th');
  heading.scope = 'row';
  heading.append(name);
  const time = document.createElement('time');
  time.dateTime = user.created_at;
  time.textContent = new Date(user.created_at).toLocaleString('en-GB', {
    dateStyle: 'medium',
    timeStyle: 'short',
  });
  const since = document.createElement('td');
  since.append(time);
  const row = document.createElement('tr');
  row.append(heading, since);
  return row;
}

// Sets `aria-disabled`, because the attribute `disabled` would take the focus from the button.
function disable(button, isDisabled) {
  button.setAttribute('aria-disabled', String(isDisabled));
}

function whenEnabled(button, turn) {
  button.addEventListener('click', () => {
    if (button.getAttribute('aria-disabled') === 'true') return;
    turn();
    showPage();
  });
}

whenEnabled(previous, () => pages.pop());
whenEnabled(next, () => pages.push(after));

function filter() {
  clearTimeout(filtering);
  const parameters = { limit: PAGE_SIZE };
  if (prefix.value !== '') parameters.prefix = prefix.value;
  pages = [listUrl(parameters)];
  showPage();
}

prefix.addEventListener('input', () => {
  clearTimeout(filtering);
  filtering = setTimeout(filter, TYPING_PAUSE);
});

byId('filter').addEventListener('submit', (event) => {
  event.preventDefault();
  filter();
});

showPage();
