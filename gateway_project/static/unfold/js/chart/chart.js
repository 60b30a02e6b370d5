/* In place of Chart.js, which the theme loads on every page: the console draws its charts as SVG on the server. */
