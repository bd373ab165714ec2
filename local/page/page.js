// Signs users up and lists them with the API's two operations. The server decides which usernames are
// valid. All text enters the page as text, never as markup.

const usersUrl = document.querySelector('meta[name="users-url"]').content;
const LONGEST = 80;
const PAGE_SIZE = 10;
/** The pause after the last keystroke before the page asks the API, in milliseconds. */
const TYPING_PAUSE = 250;
/** The pause before the page asks an unreachable API again, in milliseconds. */
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

// The API. While it can't be reached, the page keeps asking for the list.

let retrying;

/** The error of a request when the API can't be reached. */
class Unreachable extends Error {}

/** Sends a request. While the API can't be reached, the page says so. */
async function ask(url, options) {
  try {
    const response = await fetch(url, options);
    const text = await response.text();
    say(offline, '');
    return { ok: response.ok, link: response.headers.get('Link'), status: response.status, text };
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    // Sets the text only once, because screen readers would read it out again at every attempt.
    if (offline.textContent === '') {
      say(offline, 'The API can’t be reached. Is “make run” still running? Trying again …');
    }
    clearTimeout(retrying);
    retrying = setTimeout(showPage, RETRY_PAUSE);
    throw new Unreachable();
  }
}

/**
 * Returns the text that the page shows for an error. The text comes from the service's problem document or from the
 * gateway's answer. If they give no reason, it names the status.
 */
function reasonOf({ status, text }) {
  let problem;
  try {
    problem = JSON.parse(text);
  } catch {
    // The answer is not JSON, so it comes from something between the page and the API.
  }
  const reason = problem?.errors?.[0]?.detail ?? problem?.detail ?? problem?.message;
  return reason ?? `The API answered ${status}.`;
}

function listUrl(parameters) {
  return `${usersUrl}?${new URLSearchParams(parameters)}`;
}

/** The URL of the next page from a `Link` header (RFC 8288), or undefined on the last page. */
function nextOf(link, url) {
  const target = /<([^>]*)>;\s*rel="?next"?/.exec(link ?? '')?.[1];
  return target && new URL(target, url).href;
}

/** Sets an element's text and, if given, its class. */
function say(element, text, kind) {
  element.textContent = text;
  if (kind !== undefined) element.className = kind;
}

/**
 * Quotes a name. Isolating marks (U+2068, U+2069) keep right-to-left names from reordering the
 * sentence.
 */
function quote(name) {
  return `“\u2068${name}\u2069”`;
}

// Signing up.

/**
 * The text as the server counts it: in NFC, with ordinary characters in place of half-width and
 * full-width ones.
 */
function display(text) {
  return text.replace(/[\u3000\uFF01-\uFFEE]/g, (wide) => wide.normalize('NFKC')).normalize('NFC');
}

/** The length of a username in lower case: usernames that differ only in case have equal lengths. */
function lengthOfKey(text) {
  return [...display(text).toLowerCase().normalize('NFC')].length;
}

/**
 * The error for an empty or too long username, found without the server; empty if there is none.
 */
function tooShortOrLong(name) {
  const length = [...display(name)].length;
  if (length === 0) return `The username is empty; it needs 1 to ${LONGEST} characters.`;
  if (length > LONGEST) {
    return `The username has ${length} characters; at most ${LONGEST} are allowed.`;
  }
  return '';
}

/**
 * Whether a user has this name. The API lists the usernames that begin with the name, and an equal
 * username comes first. So the name is taken if the first username is as long as the name.
 */
async function isTaken(name, signal) {
  const answer = await ask(listUrl({ prefix: name, limit: 1 }), { signal });
  if (!answer.ok) throw new Error(reasonOf(answer));
  const [first] = JSON.parse(answer.text);
  return first !== undefined && lengthOfKey(first.username) === lengthOfKey(name);
}

let typing;
let asking = new AbortController();

/** Cancels the running check of an earlier name. */
function forgetAvailability() {
  clearTimeout(typing);
  asking.abort();
  asking = new AbortController();
}

username.addEventListener('input', () => {
  isWaiting = false;
  forgetAvailability();
  refuse('');
  const name = username.value;
  const problem = tooShortOrLong(name);
  if (problem) {
    say(availability, problem, 'bad');
    username.setAttribute('aria-invalid', 'true');
    return;
  }
  say(availability, '');
  const { signal } = asking;
  typing = setTimeout(async () => {
    try {
      const taken = await isTaken(name, signal);
      if (taken) say(availability, `${quote(name)} is taken.`, 'bad');
      // Does not say "available": the list accepts any prefix, so only a create tells whether the name
      // is valid.
      else say(availability, `${quote(name)} is not taken.`, '');
    } catch {
      // The check failed, so the page shows nothing here; signing up gives the answer. If the API can't
      // be reached, `ask` has already said so.
    }
  }, TYPING_PAUSE);
});

function refuse(reason) {
  say(refusal, reason);
  if (reason) {
    username.setAttribute('aria-invalid', 'true');
    username.focus();
  } else {
    username.removeAttribute('aria-invalid');
  }
}

/**
 * The current attempt to create a user. A retry sends the same key, so that no second user is
 * created.
 */
let attempt = {};
/** The username that is being sent. */
let sending;
/** Whether the username in the field is to be sent next. */
let isWaiting = false;

const signUp = byId('sign-up');
signUp.addEventListener('submit', async (event) => {
  event.preventDefault();
  const name = username.value;
  if (name === sending) return;
  forgetAvailability();
  say(availability, '');
  refuse('');
  const problem = tooShortOrLong(name);
  if (problem) {
    refuse(problem);
    return;
  }
  if (sending !== undefined) {
    isWaiting = true;
    say(availability, `Waiting for the answer about ${quote(sending)} …`, '');
    return;
  }
  if (attempt.name !== name) attempt = { name, key: crypto.randomUUID() };
  sending = name;
  say(availability, 'Signing up …', '');
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
    // The field may hold another name by now, to which this answer does not apply.
    if (username.value !== name) return;
    forgetAvailability();
    if (!answer.ok) {
      say(availability, '');
      refuse(reasonOf(answer));
      return;
    }
    username.value = '';
    username.focus();
    say(availability, `${quote(JSON.parse(answer.text).username)} has signed up.`, 'good');
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    if (username.value !== name) return;
    say(availability, '');
    refuse('The API did not answer. Sign up again when it answers. This never creates a second user.');
  } finally {
    sending = undefined;
    if (isWaiting) {
      isWaiting = false;
      signUp.requestSubmit();
    }
  }
});

// The list. `pages` holds the URLs of all pages up to the shown one. `after` holds the URL of the next page.

let pages = [listUrl({ limit: PAGE_SIZE })];
let after;
let filtering;
let showing = new AbortController();

/** Shows the last of `pages`. */
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
    // Another page was requested meanwhile, or the API can't be reached, which `ask` has already said.
    return;
  }
  const users = answer.ok ? JSON.parse(answer.text) : [];
  after = answer.ok ? nextOf(answer.link, url) : undefined;
  document.querySelector('#list tbody').replaceChildren(...users.map(row));
  byId('list').hidden = users.length === 0;
  disable(previous, pages.length === 1);
  disable(next, !after);
  if (answer.ok) say(position, positionOf(users.length), '');
  else say(position, reasonOf(answer), 'bad');
}

function positionOf(count) {
  if (count > 0) {
    const first = (pages.length - 1) * PAGE_SIZE + 1;
    const last = first + count - 1;
    return first === last ? `User ${first}` : `Users ${first} to ${last}`;
  }
  // The field may hold another prefix by now, so this reads the prefix from the list's URL.
  const wanted = new URL(pages[0]).searchParams.get('prefix');
  if (wanted === null) return 'Nobody has signed up yet.';
  return `Nobody’s username begins with ${quote(wanted)}.`;
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

// Uses aria-disabled, because a button with `disabled` would lose the focus when the last page is
// reached.
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
