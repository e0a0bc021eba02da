// Runs before the first paint, so the page never flashes in the other theme.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem('peep.theme');
  } catch {}
  if (theme !== 'dark' && theme !== 'light') {
    theme = matchMedia('(prefers-color-scheme: light)').matches ? 'light' : 'dark';
  }
  document.documentElement.dataset.theme = theme;
  try {
    const { density } = JSON.parse(localStorage.getItem('peep.prefs') ?? '{}');
    if (density === 'compact') document.documentElement.dataset.density = density;
  } catch {}
})();
