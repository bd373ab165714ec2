// Signs users up and lists them, by nothing but the API's two operations. What a username looks like
// is the server's to decide; all text goes into the page as text.

const usersUrl = document.querySelector('meta[name="users-url"]').content;
const LONGEST = 80;
const PAGE_SIZE = 10;
/** How long nobody types before the API is asked, in milliseconds. */
const TYPING_PAUSE = 250;
/** How long to wait before an API that can't be reached is asked again, in milliseconds. */
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

// The API. While it can't be reached, the list is asked for again and again.

let retrying;

/** The API can't be reached. */
class Unreachable extends Error {}

/** Asks the API, and says so on the page while it can't be reached. */
async function ask(url, options) {
  try {
    const response = await fetch(url, options);
    const text = await response.text();
    say(offline, '');
    return { ok: response.ok, link: response.headers.get('Link'), status: response.status, text };
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    // Said once, and not read out again at every attempt.
    if (offline.textContent === '') {
      say(offline, 'The API can’t be reached. Is “make run” still running? Trying again …');
    }
    clearTimeout(retrying);
    retrying = setTimeout(showPage, RETRY_PAUSE);
    throw new Unreachable();
  }
}

/** The reason for a refusal, for people: of the service's problem, or of the gateway's answer. */
function reasonOf({ status, text }) {
  let problem;
  try {
    problem = JSON.parse(text);
  } catch {
    // It is from something between the page and the API.
  }
  const reason = problem?.errors?.[0]?.detail ?? problem?.detail ?? problem?.message;
  return reason ?? `The API answered ${status}.`;
}

function listUrl(parameters) {
  return `${usersUrl}?${new URLSearchParams(parameters)}`;
}

/** The target of a page's link to the next one (RFC 8288), or none on the last page. */
function nextOf(link, url) {
  const target = /<([^>]*)>;\s*rel="?next"?/.exec(link ?? '')?.[1];
  return target && new URL(target, url).href;
}

/** Says something in an element, and of which kind it is. */
function say(element, text, kind) {
  element.textContent = text;
  if (kind !== undefined) element.className = kind;
}

/** A name within a sentence, which it may not turn around if it is written from right to left. */
function quote(name) {
  return `“\u2068${name}\u2069”`;
}

// Signing up.

/** Half-width and full-width characters as ordinary ones, composed: as the server counts them. */
function display(text) {
  return text.replace(/[\u3000\uFF01-\uFFEE]/g, (wide) => wide.normalize('NFKC')).normalize('NFC');
}

/** How many characters two usernames that are the same both have, whatever their case. */
function lengthOfKey(text) {
  return [...display(text).toLowerCase().normalize('NFC')].length;
}

/** What is wrong with a username as far as it needs no server to see it. */
function tooShortOrLong(name) {
  const length = [...display(name)].length;
  if (length === 0) return `The username is empty; it needs 1 to ${LONGEST} characters.`;
  if (length > LONGEST) {
    return `The username has ${length} characters; at most ${LONGEST} are allowed.`;
  }
  return '';
}

/**
 * Whether a user has this name. A username that equals the prefix is listed first, and all that are
 * listed begin with it; so the first one is the same name if it is no longer.
 */
async function isTaken(name, signal) {
  const answer = await ask(listUrl({ prefix: name, limit: 1 }), { signal });
  if (!answer.ok) throw new Error(reasonOf(answer));
  const [first] = JSON.parse(answer.text);
  return first !== undefined && lengthOfKey(first.username) === lengthOfKey(name);
}

let typing;
let asking = new AbortController();

/** Forgets what is being found out about the name that stood there before. */
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
      // Whether it is allowed is the server's to say, which judges no prefix.
      else say(availability, `${quote(name)} is not taken.`, '');
    } catch {
      // It is not known, and the server decides at last. Whether it can be reached is said already.
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

/** The attempt to create one username: sent again, it must not count as another's. */
let attempt = {};
/** The username that is on its way. */
let sending;
/** Whether the one that stands there now is to follow it. */
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
    // Another name may stand there by now, of which the answer says nothing.
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
    refuse('The API did not answer. Sign up again when it does; nobody is created twice.');
  } finally {
    sending = undefined;
    if (isWaiting) {
      isWaiting = false;
      signUp.requestSubmit();
    }
  }
});

// The list: the pages from the first to the one that is shown, by their URLs, and the one after it.

let pages = [listUrl({ limit: PAGE_SIZE })];
let after;
let filtering;
let showing = new AbortController();

/** Shows the last of the pages. */
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
    // Another page is wanted by now, or the API can't be reached, which is said already.
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
  // Another prefix than this list's may be typed by now.
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

// A disabled button would lose the focus to nowhere when the last page is reached.
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
