// A link may carry the token behind its "#": that part of an address is never sent to a server.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token) {
  history.replaceState(null, "", location.pathname);
  document.getElementById("token").value = token;
  document.forms[0].submit();
}
