// Keeps the page up to date. Without it, everything works after loading the page again.
'use strict';

// A form is on its way: to load the page again would take it back.
let isLeaving = false;
addEventListener('submit', () => { isLeaving = true; });
addEventListener('pageshow', () => { isLeaving = false; });

const follow = (place) => {
  const events = new EventSource(place.dataset.live);
  events.addEventListener('parts', (event) => {
    for (const [id, part] of JSON.parse(event.data)) {
      const slot = document.getElementById(id);
      if (!slot || slot.innerHTML === part) continue;
      // The focus stays where it is.
      const focused = slot.contains(document.activeElement) ? document.activeElement.id : '';
      slot.innerHTML = part;
      if (focused) document.getElementById(focused)?.focus();
    }
  });
  events.addEventListener('log', (event) => {
    const log = document.getElementById('log');
    if (!log) return;
    const box = log.parentElement;
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 30;
    for (const line of JSON.parse(event.data)) log.insertAdjacentHTML('beforeend', line);
    while (log.children.length > 1000) log.firstElementChild.remove();
    if (atEnd) box.scrollTop = box.scrollHeight;
  });
  // Other buttons than before. What is typed is not lost.
  events.addEventListener('reload', () => {
    if (isLeaving) return;
    const typing = document.activeElement?.matches('input, textarea, select, details[open] *');
    if (typing) {
      const note = document.createElement('p');
      note.className = 'stale';
      note.setAttribute('role', 'status');
      note.textContent = 'This page has changed; load it again when you are ready.';
      place.append(note);
    } else {
      events.close();
      location.reload();
    }
  });
};

document.querySelectorAll('[data-live]').forEach(follow);

document.querySelectorAll('[data-all]').forEach((group) => {
  const boxes = () => group.querySelectorAll('input[type=checkbox]:not(:disabled)');
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = 'All or none';
  button.addEventListener('click', () => {
    const all = [...boxes()].every((box) => box.checked);
    boxes().forEach((box) => { box.checked = !all; });
  });
  group.querySelector('legend').append(' ', button);
});

const box = document.querySelector('.log');
if (box) box.scrollTop = box.scrollHeight;
