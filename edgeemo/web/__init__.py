"""The same model files in a browser: a static page, and the JavaScript module `edgeemo.js` that it is made of."""
