const messages = document.getElementById("messages");
messages.scrollTop = messages.scrollHeight;
setInterval(async () => {
  const answer = await fetch(location.href).catch(() => null);
  if (!answer || !answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("messages");
  if (fresh.innerHTML === messages.innerHTML) return;
  const atEnd = messages.scrollTop + messages.clientHeight >= messages.scrollHeight - 40;
  messages.replaceChildren(...fresh.childNodes);
  if (atEnd) messages.scrollTop = messages.scrollHeight;
}, 2000);
