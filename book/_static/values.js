// The value of a point shows by itself under a mouse only, being the title of its mark: on a touch screen, a tap shows it.
document.addEventListener("DOMContentLoaded", () => {
  const note = document.createElement("div");
  note.className = "tapped-value";
  note.setAttribute("role", "status");
  document.body.append(note);
  document.addEventListener("click", (event) => {
    const mark = event.pointerType === "mouse" ? null : event.target.closest("g.value");
    note.textContent = mark ? mark.querySelector("title").textContent : "";
  });
});
