const messages = document.getElementById("messages");
messages.scrollTop = messages.scrollHeight;
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-sends]")) event.target.form.submit();
});
async function refresh() {
  setTimeout(refresh, 1000 + await look());
}
async function look() {
  const began = Date.now();
  const answer = await fetch(location.href).catch(() => null);
  if (!answer || !answer.ok) return 2000;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const atEnd = messages.scrollTop + messages.clientHeight >= messages.scrollHeight - 40;
  for (const id of ["messages", "modal"]) {
    const [old, now] = [document.getElementById(id), fresh.getElementById(id)];
    if (now.innerHTML !== old.innerHTML) old.replaceChildren(...now.childNodes);
  }
  if (atEnd) messages.scrollTop = messages.scrollHeight;
  return Date.now() - began;
}
setTimeout(refresh, 300);
